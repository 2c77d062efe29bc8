"""Runs what a session has left to clean up once the session is gone, however it went. Run as ``python -P reaper.py``.

Standard input is a pipe from the session, which writes one JSON object a line: ``{"key": K, "command": [...]}``
promises a command, ``{"key": K}`` takes the promise back. When the pipe closes, what is still promised is run, the
latest first; a promise with ``"unless": [...]`` only if that command succeeds and prints nothing. Standalone, like the
supervisor: it imports nothing of this package.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys

_SECONDS = 180


def _run(command: list[str]) -> tuple[int, str]:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        return done.returncode, done.stdout.strip()
    return 127, ""


def main() -> int:
    """Read promises until the pipe closes, then keep those that are left; the exit status is how many failed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    promised: dict[str, dict[str, list[str]]] = {}
    for line in sys.stdin:
        # A session that is killed while it writes leaves half a line, of something that it had not begun.
        with contextlib.suppress(ValueError, KeyError):
            promise = json.loads(line)
            promised.pop(promise["key"], None)
            if "command" in promise:
                promised[promise["key"]] = promise
    failed = 0
    for promise in reversed(promised.values()):
        if "unless" in promise and _run(promise["unless"]) != (0, ""):
            continue
        failed += _run(promise["command"])[0] != 0
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
