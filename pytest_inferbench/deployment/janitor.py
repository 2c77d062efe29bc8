"""Removes a folder once its owner is gone, however it went. Run as ``python -P janitor.py FOLDER``.

Standard input is a pipe from the owner; when it closes the folder is removed. Standalone, like the supervisor.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from pathlib import Path

_ATTEMPTS = 20


def main(folder: str) -> int:
    """Wait for the end of standard input, then remove ``folder``."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for _ in range(_ATTEMPTS):
        # A service that is being ended meanwhile may still write.
        shutil.rmtree(folder, ignore_errors=True)
        if not Path(folder).exists():
            return 0
        time.sleep(0.5)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
