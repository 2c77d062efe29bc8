"""The lock of the machine, in one process; what happens between processes is tested where processes are."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from pytest_inferbench.machine.lock import MachineLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "machine.lock"


def test_one_holder_at_a_time(path: Path) -> None:
    """A second one is told at once that the lock is taken, and gets it when the first gives it back."""
    one, other = MachineLock(path), MachineLock(path)
    assert one.try_acquire()
    assert not other.try_acquire()
    one.release()
    assert other.try_acquire()
    assert not one.try_acquire()
    other.release()


def test_the_holder_may_take_it_again(path: Path) -> None:
    """A measurement inside of ``running()`` does not wait for itself; each success needs its release."""
    one, other = MachineLock(path), MachineLock(path)
    assert one.try_acquire()
    assert one.try_acquire()
    one.release()
    assert not other.try_acquire(), "released once of twice"
    one.release()
    assert other.try_acquire()
    other.release()


def test_giving_back_what_is_not_held_does_nothing(path: Path) -> None:
    """A release that comes after a failure to acquire neither raises nor takes the lock from its holder."""
    one, other = MachineLock(path), MachineLock(path)
    assert one.try_acquire()
    assert not other.try_acquire()
    other.release()
    assert not MachineLock(path).try_acquire()
    one.release()


def test_whoever_waits_can_tell_for_whom(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder's process, folder and time are readable by others for as long as it holds the lock, and no longer."""
    monkeypatch.chdir(path.parent)
    one = MachineLock(path)
    assert one.try_acquire()
    assert one.try_acquire()
    one.release()
    assert MachineLock(path).holder().startswith(f"pid {os.getpid()} in {Path.cwd()}, since ")
    one.release()
    assert MachineLock(path).holder() == "another session"


@pytest.mark.parametrize("note", [None, "", "{", "[]", "3", json.dumps({"pid": 3}), "\x00"])
def test_a_note_that_says_nothing_is_another_session(path: Path, note: str | None) -> None:
    """Missing, damaged or of somebody else: the message stays a message."""
    if note is not None:
        path.with_suffix(".holder").write_text(note)
    assert MachineLock(path).holder() == "another session"


def test_a_note_that_is_not_text_is_another_session(path: Path) -> None:
    """Bytes that are no UTF-8 are no reason for a traceback."""
    path.with_suffix(".holder").write_bytes(b"\xff\xfe")
    assert MachineLock(path).holder() == "another session"


def test_a_note_that_cannot_be_written_does_not_cost_the_lock(path: Path) -> None:
    """The note is another user's, say: the lock counts, the note only serves a message."""
    path.with_suffix(".holder").mkdir()
    one = MachineLock(path)
    assert one.try_acquire()
    assert not MachineLock(path).try_acquire()
    one.release()


def test_there_is_one_per_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a path, all projects on the machine share the one in the folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one, other = MachineLock(), MachineLock()
    assert one.path == other.path
    assert one.path.parent == tmp_path
    assert one.try_acquire()
    assert not other.try_acquire()
    one.release()
