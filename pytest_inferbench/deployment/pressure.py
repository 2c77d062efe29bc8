"""A process that takes CPU time or memory on purpose: ``python -P pressure.py cpu|memory SECONDS BYTES``.

Says "ready" once it has what it takes. Its standard input is a leash, as the supervisor's is: when that closes, or the
seconds are over, the process ends. Standalone, so that it starts at once.
"""

from __future__ import annotations

import os
import select
import sys
import time

_PAGE = 4096


def main(argv: list[str]) -> int:
    """Press until the time is over or the leash is let go."""
    kind, seconds, amount = argv[0], float(argv[1]), int(argv[2])
    held = bytearray(amount)
    for position in range(0, amount, _PAGE):
        held[position] = 1  # memory that was never written to is not there yet
    os.write(1, b"ready\n")
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([0], [], [], 0 if kind == "cpu" else left)[0]:
            break  # nobody writes to us: the leash was let go
        if kind == "cpu":
            sum(range(100_000))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
