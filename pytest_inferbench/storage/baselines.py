"""Stored baselines: one small text file per test, profile and machine, written only when asked to."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_inferbench.errors import BaselineError, NewerBaselineError
from pytest_inferbench.storage.baseline_format import (
    FORMAT_VERSION,
    MAX_BYTES,
    Baseline,
    BaselineFile,
    FutureVersion,
    Unusable,
    decode,
    encode,
)

__all__ = ["FORMAT_VERSION", "Baseline", "BaselineStore", "StoredEntry", "without_test"]

_POLL_SECONDS = 0.02
_MAX_NAME = 150

# Names that are told apart after "/" and "::" became "--": the usual ones of profiles, machines and tests.
_PART = r"[A-Za-z0-9_=+](?:[A-Za-z0-9_.=+]|-(?=[A-Za-z0-9_=+]))*"
_ITEM = r"[A-Za-z_][A-Za-z0-9_]*(?:\[[A-Za-z0-9_.=+]+(?:-[A-Za-z0-9_.=+]+)*\])?"
_PLAIN = re.compile(rf"{_PART}|(?:{_PART}/)*{_PART}\.py(?:::{_ITEM})+")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """What lies in the folder: one workload of one file, or a file that cannot be read.

    ``profile`` and ``machine`` are the names of its folders, ``test`` is what was recorded under that file's name; to
    tell whether it belongs to a test, compare ``path`` with :meth:`BaselineStore.path`. ``workload`` is None where
    the file cannot be used, and ``problem`` then says why.
    """

    profile: str
    machine: str
    test: str
    workload: str | None
    path: Path
    problem: str = ""


@dataclass(frozen=True, slots=True)
class BaselineStore:
    """The folder of baselines: ``<root>/<profile>/<machine>/<test>.json``, one entry per workload in each file.

    An update waits at most ``patience`` seconds for another process that updates the same file.
    """

    root: Path
    patience: float = 60.0

    def path(self, *, profile: str, machine: str, test: str) -> Path:
        """Return where the baseline of a test lies. Different names have different files; none leaves the folder."""
        return self.root / _safe(profile) / _safe(machine) / f"{_safe(test)}.json"

    def machines(self, *, profile: str, test: str) -> tuple[str, ...]:
        """Return the machines that have a baseline of this test under this profile."""
        folders = (self.root / _safe(profile)).glob("*")
        return tuple(sorted(folder.name for folder in folders if (folder / f"{_safe(test)}.json").is_file()))

    def load(self, *, profile: str, machine: str, test: str) -> dict[str, Baseline]:
        """Return the stored baselines of a test by workload name; empty if there are none.

        Raises BaselineError for a file that is truncated, damaged or not ours; NewerBaselineError for one of a future
        version.
        """
        return dict(_load(self.path(profile=profile, machine=machine, test=test)).baselines)

    def update(self, baseline: Baseline, *, profile: str, machine: str, test: str) -> Path:
        """Write one workload's baseline, leaving the file's other entries; the old or the new file, never half.

        A damaged file is replaced: an update is the way out of it. One of a future version is not
        (NewerBaselineError). Raises BaselineError if the file cannot be written, or could not be read again.
        """
        path = self.path(profile=profile, machine=machine, test=test)

        def change() -> BaselineFile:
            try:
                stored = _parse(path)
            except Unusable as error:
                if isinstance(error, FutureVersion):
                    raise
                stored = BaselineFile(test, {})
            return BaselineFile(test, {**stored.baselines, str(baseline.workload["name"]): baseline})

        self._replace(path, change, "the measurement itself is complete (see --inferbench-json); ")
        return path

    def entries(self) -> Iterator[StoredEntry]:
        """Yield everything stored, sorted by path; a file that cannot be used is one entry that says so."""
        for path in sorted(self.root.glob("*/*/*.json")):
            profile, machine, test = *path.parts[-3:-1], path.stem
            found: dict[str | None, str] = {}
            try:
                file = _load(path)
                found.update(dict.fromkeys(file.baselines, ""))
                test = file.test if _safe(file.test) == test else test
            except BaselineError as error:
                found[None] = str(error)
            for workload, problem in found.items():
                yield StoredEntry(
                    profile=profile, machine=machine, test=test, workload=workload, path=path, problem=problem
                )

    def remove(self, entry: StoredEntry) -> bool:
        """Remove one workload's entry, and the file with its last one; return False if it is no longer there.

        An entry without a workload stands for a damaged file, which is removed if it still is one. Raises
        BaselineError where that is not possible; NewerBaselineError for a file of a future version.
        """
        found = False

        def change() -> BaselineFile | None:
            nonlocal found
            try:
                stored = _parse(entry.path)
            except Unusable as error:
                if entry.workload is not None or isinstance(error, FutureVersion):
                    raise
                found = True
                return None
            found = entry.workload in stored.baselines
            left = {name: baseline for name, baseline in stored.baselines.items() if name != entry.workload}
            return BaselineFile(stored.test, left) if left else None

        if entry.path.exists():
            self._replace(entry.path, change)
        return found

    def _replace(self, path: Path, change: Callable[[], BaselineFile | None], note: str = "") -> None:
        """Replace the file by what ``change`` makes of it while nobody else does; None removes it."""
        what = f"cannot write the baseline {path}"
        try:
            if not path.parent.resolve().is_relative_to(self.root.resolve()):
                raise BaselineError(
                    f"{what}: it lies outside of {self.root}; {note}"
                    "remove the link that leads there, or choose another folder with --inferbench-storage"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            with _draft(path, self.patience) as (draft, descriptor):
                file = change()
                if file is None:
                    path.unlink(missing_ok=True)
                    return
                data = encode(file)
                with os.fdopen(os.dup(descriptor), "wb") as stream:
                    stream.truncate(0)  # what a killed process left of an earlier draft
                    stream.write(data)
                    stream.flush()
                    os.fsync(descriptor)
                draft.replace(path)
        except OSError as error:
            raise BaselineError(
                f"{what}: {error.strerror or error}; {note}make the folder writable or choose another with "
                "--inferbench-storage"
            ) from error
        except FutureVersion as error:
            raise NewerBaselineError(f"{what}: it {error}; {note}upgrade pytest-inferbench") from error
        except Unusable as error:
            raise BaselineError(f"{what}: it {error}; {note}see whether shorter runs or fewer repeats do") from error


def without_test(store: BaselineStore, root: Path, collected: Collection[str]) -> list[StoredEntry]:
    """Return the entries of tests that are no longer there, of every profile and machine.

    ``collected``: the names of all tests of every file that pytest collected, before any was deselected. An entry of
    a file that exists and was not collected may still have its test: it is left alone. So is a damaged file.
    """
    files = {name.partition("::")[0] for name in collected}
    found = []
    for entry in store.entries():
        if entry.problem:
            continue
        file = entry.test.partition("::")[0]
        unseen = file not in files and (root / file).exists()
        path_of = {store.path(profile=entry.profile, machine=entry.machine, test=name) for name in collected}
        if not unseen and entry.path not in path_of:
            found.append(entry)
    return found


@contextlib.contextmanager
def _draft(path: Path, patience: float) -> Iterator[tuple[Path, int]]:
    """Yield the file that is to become ``path``, open and locked: to have it is to have the right to update ``path``.

    The operating system gives the lock back when its holder dies; the draft that is left behind is the next one's.
    Renamed, the draft is no longer there: a process that waited for it finds so, and makes a new one.
    """
    draft = path.with_name(f".{path.name}.new")
    deadline = time.monotonic() + patience
    while True:
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(draft, descriptor):
                break
            os.close(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() >= deadline:
                raise BaselineError(
                    f"cannot write the baseline {path}: another process has been updating it for {patience:g} s"
                ) from None
            time.sleep(_POLL_SECONDS)
        except BaseException:
            os.close(descriptor)
            raise
    try:
        yield draft, descriptor
    finally:
        if _is_still(draft, descriptor):
            draft.unlink()
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _safe(name: str) -> str:
    """Return ``name`` as part of a path: readable where it can be, and with a digest where it would be ambiguous."""
    if len(name) <= _MAX_NAME and _PLAIN.fullmatch(name):
        return re.sub("::|/", "--", name)
    cleaned = re.sub(r"[^A-Za-z0-9._\[\]=+-]+", "--", name).strip(".-")
    digest = hashlib.blake2b(name.encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()
    return f"{cleaned[:_MAX_NAME] or 'unnamed'}-{digest}"


def _load(path: Path) -> BaselineFile:
    """Return what ``path`` holds, nothing if there is no such file. Raises BaselineError with the way out."""
    try:
        return _parse(path)
    except FutureVersion as error:
        raise NewerBaselineError(f"baseline {path} {error}: upgrade pytest-inferbench") from error
    except (OSError, Unusable) as error:
        what = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else error
        raise BaselineError(
            f"baseline {path} {what}; restore it from version control, or record it again with --update-baselines"
        ) from error


def _parse(path: Path) -> BaselineFile:
    """Return what ``path`` holds, nothing if there is no such file. Raises OSError, or Unusable for what it says."""
    try:
        # Not blocking: opening a pipe, or reading from it, might last for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return BaselineFile("", {})
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unusable("is not a regular file")
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            return decode(stream.read(MAX_BYTES + 1))
    finally:
        os.close(descriptor)
