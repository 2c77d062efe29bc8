"""What a session has measured so far, on disk, so that one that was interrupted can be resumed."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["ResumeCache", "state_of_files"]

_EXPIRY_SECONDS = 7 * 86_400


class ResumeCache:
    """Values under names in a folder of pytest's cache, which nobody else writes to: they are pickled.

    A value is found again only by a session that says ``resuming`` and whose ``identity`` (environment, files of the
    project) is the same: runs of two versions are never mixed. Without a ``folder`` nothing is stored.
    """

    def __init__(self, folder: Path | None, identity: str = "", *, resuming: bool = False) -> None:
        self._folder = folder
        self._identity = identity
        self._resuming = resuming
        self._used: set[Path] = set()

    def load(self, *name: object) -> Any:
        """Return the value of an earlier session; None if there is none, or this session does not resume."""
        path = self._path(name)
        if path is None or not self._resuming:
            return None
        try:
            value = pickle.loads(path.read_bytes())
        except Exception:  # noqa: BLE001  # of another version of this package, or cut short: it is measured again
            return None
        self._used.add(path)
        return value

    def store(self, value: object, *name: object) -> None:
        """Store ``value``, whole or not at all; a full disk costs the chance to resume and nothing else."""
        path = self._path(name)
        if path is None:
            return
        try:
            with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".new", delete=False) as file:
                pickle.dump(value, file)
            Path(file.name).replace(path)
        except OSError:
            return
        self._used.add(path)

    def forget(self) -> None:
        """Remove what this session stored or loaded, since it is done; and what is older than a week."""
        for path in self._used:
            path.unlink(missing_ok=True)
        self._used.clear()
        if self._folder is not None:
            for path in self._folder.iterdir():
                if time.time() - path.stat().st_mtime > _EXPIRY_SECONDS:
                    path.unlink(missing_ok=True)

    def _path(self, name: tuple[object, ...]) -> Path | None:
        if self._folder is None:
            return None
        digest = hashlib.sha256(repr((self._identity, name)).encode()).hexdigest()
        return self._folder / f"{digest}.pickle"


def state_of_files(root: Path, *, without: Path) -> str:
    """Return a digest of name, size and time of the files below ``root`` that git has or Python runs.

    ``without``: a folder to leave out. Empty where git cannot tell.
    """
    asked = ["git", "-C", str(root), "ls-files", "-z", "--cached"]
    others = ["git", "-C", str(root), "ls-files", "-z", "--others", "--exclude-standard", "--", "*.py", "*.toml"]
    digest = hashlib.sha256()
    for command in (asked, others):
        try:
            found = subprocess.run(command, capture_output=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError):
            return ""
        for name in sorted(filter(None, found.stdout.split(b"\0"))):
            path = root / os.fsdecode(name)
            if path.is_relative_to(without):
                continue
            try:
                seen = path.stat()
            except OSError:
                continue
            digest.update(name + f" {seen.st_size} {seen.st_mtime_ns}\n".encode())
    return digest.hexdigest()
