"""One lock per machine: two sessions that load it at once would measure each other."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["MachineLock"]


class MachineLock:
    """The right to load this machine, held by one process at a time and re-entrant within it.

    The operating system takes it back when the holder dies. Acquiring never blocks: how to wait is the caller's
    business, who may have an event loop to keep running.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or Path(tempfile.gettempdir()) / "pytest-inferbench.lock"
        # Any user of the machine may take it, hence the mode.
        self._lock = FileLock(self.path, mode=0o666, thread_local=False)
        self._note = self.path.with_suffix(".holder")

    def try_acquire(self) -> bool:
        """Take the lock if it is free or already ours; each success needs one :meth:`release`."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        note = {"pid": os.getpid(), "cwd": str(Path.cwd()), "since": time.strftime("%H:%M:%S")}
        # The note only serves the message of whoever waits; another user's file may not be writable.
        with contextlib.suppress(OSError):
            self._note.write_text(json.dumps(note), encoding="utf-8")
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._lock.lock_counter == 1:
            # Else whoever waits for the next holder could be told of this one.
            with contextlib.suppress(OSError):
                self._note.unlink()
        self._lock.release()

    def holder(self) -> str:
        """Describe who holds the lock, as far as they left a note."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            return f"pid {note['pid']} in {note['cwd']}, since {note['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another session"
