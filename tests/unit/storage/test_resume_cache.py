"""The resume cache: documents of an interrupted session, whatever else lies in its folder and whoever else is there."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_inferbench.storage import resume_cache
from pytest_inferbench.storage.resume_cache import ResumeCache

DOCUMENT = {"pairs": [1, 2.5, "text", None, True], "none": {}}


def stored(folder: Path) -> Path:
    """Store the document under "name" and return its file."""
    ResumeCache(folder, "here").store(DOCUMENT, "name")
    (file,) = folder.iterdir()
    return file


def resumed(folder: Path, *, identity: str = "here", name: str = "name") -> Any:
    return ResumeCache(folder, identity, resuming=True).load(name)


def test_a_session_that_resumes_finds_what_the_last_one_stored(tmp_path: Path) -> None:
    """The same identity and name, and only if it resumes; no draft is left."""
    stored(tmp_path)
    assert resumed(tmp_path) == DOCUMENT
    assert resumed(tmp_path, identity="another version") is None
    assert resumed(tmp_path, name="another") is None
    assert ResumeCache(tmp_path, "here").load("name") is None
    assert ResumeCache(None, resuming=True).load("name") is None


class Bomb:
    """Pickled, it makes a folder in whoever unpickles it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.path,))


def test_a_pickle_in_the_folder_is_never_run(tmp_path: Path) -> None:
    """A folder that CI restores may hold anybody's files: under our name one does nothing, not even with our head."""
    folder, mark = tmp_path / "cache", tmp_path / "exploded"
    folder.mkdir()
    file = stored(folder)
    bomb = pickle.dumps(Bomb(str(mark)))
    head = resume_cache._HEAD
    for data in (bomb, b"\n".join((head, bomb)), b"\n".join((head, resume_cache._digest(bomb), bomb))):
        for path in (file, file.with_suffix(".pickle")):
            path.write_bytes(data)
        assert resumed(folder) is None
    assert not mark.exists()
    pickle.loads(bomb)
    assert mark.exists(), "it is no bomb"


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b"[" * 2_000_000, b"[" + b"9" * 5000 + b"]", b"{", b"\xff", b'{"a":1', b""],
    ids=["deep", "too many", "digits", "half", "no text", "cut", "empty"],
)
def test_a_whole_file_with_a_strange_text_is_ignored(tmp_path: Path, text: bytes) -> None:
    """The checksum is right, the text is not JSON that can be read here."""
    stored(tmp_path).write_bytes(b"\n".join((resume_cache._HEAD, resume_cache._digest(text), text)))
    assert resumed(tmp_path) is None


@pytest.mark.parametrize("kind", ["cut", "changed", "version", "pipe", "folder", "link to nothing", "large"])
def test_a_file_that_is_not_whole_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """No exception, and no waiting for a pipe; storing again afterwards never raises."""
    file = stored(tmp_path)
    data = file.read_bytes()
    if kind == "cut":
        file.write_bytes(data[:-5])
    elif kind == "changed":
        file.write_bytes(data.replace(b"2.5", b"2.6"))
    elif kind == "version":
        file.write_bytes(data.replace(b"resume 1", b"resume 2"))
    elif kind == "large":
        monkeypatch.setattr(resume_cache, "_MAX_BYTES", len(data) - 1)
    else:
        file.unlink()
        {"pipe": os.mkfifo, "folder": os.mkdir, "link to nothing": lambda path: path.symlink_to("gone")}[kind](file)
    cache = ResumeCache(tmp_path, "here", resuming=True)
    assert cache.load("name") is None
    cache.store(DOCUMENT, "name")
    cache.forget()


@pytest.mark.parametrize("document", [object(), float("nan"), {"a": {1, 2}}], ids=["object", "nan", "set"])
def test_what_cannot_be_stored_is_noted_once(tmp_path: Path, document: object) -> None:
    """The measurement goes on; nothing is left in the folder, and the reason is there to be shown, once."""
    cache = ResumeCache(tmp_path)
    cache.store(document, "name")
    cache.store(document, "name")
    assert "will measure again" in cache.take_problem()
    assert cache.take_problem() == ""
    assert not list(tmp_path.iterdir())


def test_a_full_disk_costs_the_chance_to_resume_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The draft is removed, the reason noted."""

    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    cache = ResumeCache(tmp_path)
    cache.store(DOCUMENT, "name")
    assert os.strerror(errno.ENOSPC) in cache.take_problem()
    assert not list(tmp_path.iterdir())


def test_a_session_that_is_done_removes_its_own_and_what_is_old(tmp_path: Path) -> None:
    """Another session's document stays for a week, whatever its name; a folder is left alone."""
    mine, other = ResumeCache(tmp_path, "mine"), ResumeCache(tmp_path, "other")
    mine.store(DOCUMENT, "name")
    other.store(DOCUMENT, "name")
    (tmp_path / "a folder").mkdir()
    os.utime(tmp_path / "a folder", (0, 0))
    for name in ("old.pickle", "old.json"):
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (time.time() - 8 * 86_400,) * 2)
    mine.forget()
    assert len(list(tmp_path.iterdir())) == 2  # the folder, and what the other stored
    assert ResumeCache(tmp_path, "other", resuming=True).load("name") == DOCUMENT


def finish(folder: Path, identity: str, barrier: Any, failures: Any) -> None:
    """Be one worker of pytest-xdist: store, and end together with the other, again and again."""
    try:
        for number in range(60):
            cache = ResumeCache(folder, identity)
            for name in "abc":
                cache.store(DOCUMENT, f"{number} {name}")
            for old in range(20):
                file = folder / f"old {number} {old}"
                file.write_text("")
                os.utime(file, (0, 0))
            barrier.wait(60)
            cache.forget()
            barrier.wait(60)
    except BaseException as error:
        failures.put(repr(error))
        barrier.abort()
        raise


def test_two_workers_that_finish_together_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Both list the folder and remove the same old files: no FileNotFoundError, and nothing is left."""
    context = multiprocessing.get_context("spawn")
    barrier, failures = context.Barrier(2), context.SimpleQueue()
    workers = [context.Process(target=finish, args=(tmp_path, name, barrier, failures)) for name in ("gw0", "gw1")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert failures.empty(), failures.get()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert not list(tmp_path.iterdir())


def test_a_file_that_another_removes_in_between_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the folder listed is gone when it is looked at; then the folder itself is."""
    file = stored(tmp_path)
    cache = ResumeCache(tmp_path)
    monkeypatch.setattr(Path, "iterdir", lambda self: iter((file.with_name("gone"),)))
    cache.forget()
    monkeypatch.undo()
    ResumeCache(tmp_path / "no folder").forget()
    assert file.exists()
