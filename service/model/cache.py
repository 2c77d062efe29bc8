"""A cache folder whose entries are whole or absent, whoever builds them and however the builder dies.

An entry is a folder ``<name>-<key>`` with a ``manifest.json`` that holds the SHA-256 of every other file. It is built
in a sibling folder under an exclusive ``flock`` (which the kernel drops with its holder) and renamed into place. An
entry that does not match its manifest is torn, and is built again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import platformdirs

from service.errors import ServiceError

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
CACHE_ENV: Final = "INFERBENCH_CACHE"


@dataclass(frozen=True, slots=True)
class Entry:
    """A whole entry: its folder, the digest of its contents, and what its builder noted about it."""

    folder: Path
    digest: str
    info: Mapping[str, Any]

    def __post_init__(self) -> None:
        if len(self.digest) != 64:
            raise ValueError(f"the digest of an entry is 64 hexadecimal digits, got {self.digest!r}")


def default_root() -> Path:
    """``INFERBENCH_CACHE``, or the platform's cache folder."""
    configured = os.environ.get(CACHE_ENV)
    return Path(configured).expanduser() if configured else Path(platformdirs.user_cache_dir("inferbench"))


def key_of(**parts: Any) -> str:
    """16 hexadecimal digits over everything that determines a build. ``parts`` must be JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(hashes: Mapping[str, str]) -> str:
    """One SHA-256 over file names and their SHA-256."""
    return hashlib.sha256(json.dumps(dict(sorted(hashes.items()))).encode()).hexdigest()


def find(root: Path, name: str, key: str, *, deep: bool = True) -> Entry | None:
    """The entry if it is there and whole, else None. Without ``deep`` only names and sizes are compared."""
    return _read(root / f"{name}-{key}", deep=deep)


def obtain(root: Path, name: str, key: str, build: Callable[[Path], Mapping[str, Any]], *, deep: bool = True) -> Entry:
    """The entry ``name``-``key`` under ``root``; ``build(folder)`` makes it if it is absent or torn.

    ``build`` writes files into an empty folder and returns JSON values to note in the manifest. Of several builders,
    in whatever processes, one builds and the others wait.

    Raises:
        ServiceError: the folder cannot be written.
    """
    found = find(root, name, key, deep=deep)
    if found is not None:
        return found
    with _lock(root, name, key):
        found = find(root, name, key, deep=deep)
        if found is not None:
            return found
        final = root / f"{name}-{key}"
        if final.exists():
            print(f"service: {final} is torn or of another format; building it again", file=sys.stderr, flush=True)
            shutil.rmtree(final)
        # Holding the lock, whatever bears this name was left by a builder that died.
        for leftover in root.glob(f".{name}-{key}.*.tmp"):
            shutil.rmtree(leftover)
        scratch = root / f".{name}-{key}.{os.getpid()}.tmp"
        scratch.mkdir()
        try:
            info = dict(build(scratch))
            _write_manifest(scratch, info)
            scratch.rename(final)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        entry = _read(final, deep=False)
        if entry is None:
            raise ServiceError(f"{final} changed while it was being built. Delete it and run again.")
        return entry


def _write_manifest(folder: Path, info: Mapping[str, Any]) -> None:
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        files[path.relative_to(folder).as_posix()] = {"sha256": hash_file(path), "size": path.stat().st_size}
    manifest = {"format": FORMAT, "files": files, "info": info}
    with (folder / MANIFEST).open("w") as stream:
        json.dump(manifest, stream, indent=1, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())


def _read(folder: Path, *, deep: bool) -> Entry | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            return None
        hashes = {}
        for name, facts in manifest["files"].items():
            path = folder / name
            if path.stat().st_size != facts["size"] or (deep and hash_file(path) != facts["sha256"]):
                return None
            hashes[name] = facts["sha256"]
        return Entry(folder, digest_of(hashes), manifest["info"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Whatever is unreadable in a manifest, the answer is the same: it is not a whole entry.
        return None


@contextmanager
def _lock(root: Path, name: str, key: str) -> Iterator[None]:
    try:
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / f"{name}-{key}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ServiceError(
            f"the cache folder {root} cannot be written ({error.strerror}). Set {CACHE_ENV} to a folder that can."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"service: another process is building {name}-{key}; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
