"""A temporary folder for one session: removed at its end, or by a later session if this one is killed.

The session holds a lock (``flock``) on the folder itself for as long as it lives; the kernel releases it whatever ends
the process. A folder of ours that nobody holds was left by a killed session. No process is needed to watch it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path

__all__ = ["ScratchFolder", "remove_abandoned"]

_PREFIX = "inferbench-session-"
#: What tempfile.mkdtemp makes of the prefix, and nothing that a user would choose.
_NAME = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")


class ScratchFolder:
    """Made at once, after the folders of killed sessions are removed; :meth:`close` removes it."""

    def __init__(self) -> None:
        remove_abandoned(Path(tempfile.gettempdir()))
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            try:
                self._lock = _open(self.path)
            except OSError:
                if self.path.exists():
                    raise
                continue  # another session removed it before we could lock it
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # another session is just about to remove it
                os.close(self._lock)
                continue
            except OSError:
                return  # a file system without locks: no session can lock it, hence none removes it
            if self.path.exists():
                return
            os.close(self._lock)

    def close(self) -> None:
        """Remove the folder with everything in it. A second call does nothing."""
        if self._lock < 0:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1


def remove_abandoned(parent: Path) -> list[Path]:
    """Remove the folders in ``parent`` that sessions of this user left; return their paths.

    What cannot be read or removed is left for the next session: a leftover is nobody's failure.
    """
    try:
        found = [path for path in parent.iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return []
    removed = []
    for path in found:
        try:
            descriptor = _open(path)
        except OSError:
            continue
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
                if not path.exists():
                    removed.append(path)
        except OSError:  # its session lives
            continue
        finally:
            os.close(descriptor)
    return removed


def _open(path: Path) -> int:
    """Return a descriptor of a folder, never of what a symbolic link leads to; closed when another program starts."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
