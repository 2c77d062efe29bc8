"""What a session has measured so far, on disk, so that one that was interrupted can be resumed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["ResumeCache", "state_of_files"]

_EXPIRY_SECONDS = 7 * 86_400
_HEAD = b"pytest-inferbench-resume 1"
#: Ten pairs of runs of five minutes at a thousand requests per second.
_MAX_BYTES = 256 * 2**20
#: Lists, tables and their items; the requests are text, and none of these.
_MAX_ITEMS = 10**6


class ResumeCache:
    """JSON documents under names in a folder of pytest's cache: as data, for CI restores that folder from anywhere.

    A document is found again only by a session that says ``resuming`` and whose ``identity`` (environment, files of
    the project) is the same: runs of two versions are never mixed. Without a ``folder`` nothing is stored. No method
    raises: whatever goes wrong, the measurement is worth more than the chance to resume it.
    """

    def __init__(self, folder: Path | None, identity: str = "", *, resuming: bool = False) -> None:
        self._folder = folder
        self._identity = identity
        self._resuming = resuming
        self._used: set[Path] = set()
        self._problem: str | None = None

    def load(self, name: str) -> Any:
        """Return the document of an earlier session; None if there is no whole one, or this session does not resume."""
        path = self._path(name)
        if path is None or not self._resuming:
            return None
        try:
            document = _parse(_read(path))
        except (OSError, ValueError, RecursionError, MemoryError):  # of another version, cut short: measured again
            return None
        self._used.add(path)
        return document

    def store(self, document: object, name: str) -> None:
        """Store ``document``, whole or not at all."""
        path = self._path(name)
        if path is None:
            return
        try:
            text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode("ascii")
            data = b"\n".join((_HEAD, _digest(text), text))
            _require_size(data)
            with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".new", delete=False) as file:
                draft = Path(file.name)
                try:
                    file.write(data)
                    file.close()
                    draft.replace(path)
                finally:
                    draft.unlink(missing_ok=True)
        except (OSError, ValueError, TypeError, RecursionError, MemoryError) as error:
            self.note(error)
            return
        self._used.add(path)

    def note(self, error: Exception) -> None:
        """Note why something could not be stored; the first reason is the one that :meth:`take_problem` returns."""
        if self._folder is not None and self._problem is None:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self._problem = f"--inferbench-resume will measure again what could not be stored ({reason})"

    def take_problem(self) -> str:
        """Return why something could not be stored, once; empty otherwise."""
        problem = self._problem or ""
        if problem:
            self._problem = ""
        return problem

    def forget(self) -> None:
        """Remove what this session stored or loaded, since it is done; and what is older than a week.

        Another process may do so at the same time, or remove the folder: what is gone is as good as removed.
        """
        for path in self._used:
            _remove(path)
        self._used.clear()
        if self._folder is None:
            return
        try:
            found = list(self._folder.iterdir())
        except OSError:
            return
        for path in found:
            try:
                old = time.time() - path.lstat().st_mtime > _EXPIRY_SECONDS
            except OSError:
                continue
            if old:
                _remove(path)

    def _path(self, name: str) -> Path | None:
        if self._folder is None:
            return None
        digest = hashlib.sha256(repr((self._identity, name)).encode("utf-8", "backslashreplace")).hexdigest()
        return self._folder / f"{digest}.json"


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # a folder, or not ours to remove: it stays
        return


def _read(path: Path) -> bytes:
    """Return the bytes of a regular file. Raises OSError, or ValueError for a pipe, say, which may last for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        return file.read(_MAX_BYTES + 1)


def _parse(data: bytes) -> Any:
    """Return the document of a file. Raises ValueError or RecursionError for what is damaged or too large."""
    _require_size(data)
    head, digest, text = data.split(b"\n", 2)
    if head != _HEAD or digest != _digest(text):
        raise ValueError("not a whole file of this version")
    return json.loads(text)


def _require_size(data: bytes) -> None:
    if len(data) > _MAX_BYTES:
        raise ValueError(f"more than {_MAX_BYTES >> 20} MiB")
    if sum(data.count(mark) for mark in (b"[", b"{", b",")) > _MAX_ITEMS:
        raise ValueError(f"more than {_MAX_ITEMS} items")


def _digest(text: bytes) -> bytes:
    """Return what tells a damaged text; it proves nothing about who wrote it."""
    return hashlib.sha256(text).hexdigest().encode()


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
