"""The temporary folder of a session: gone at its end, swept after a kill, never taken from a session that lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_inferbench.deployment.scratch import ScratchFolder, remove_abandoned

SESSION = """
from pytest_inferbench.deployment.scratch import ScratchFolder
folder = ScratchFolder()
(folder.path / "log").write_text("a line")
print(folder.path, flush=True)
input()
folder.close()
print("closed", flush=True)
"""


@pytest.fixture(autouse=True)
def _temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@contextmanager
def session() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Run another process that holds a folder until it reads a line; yield it with the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", SESSION], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_session_removes_its_folder_when_it_ends(tmp_path: Path) -> None:
    """Closing removes the folder with what is in it; closing again does nothing."""
    folder = ScratchFolder()
    (folder.path / "below").mkdir()
    (folder.path / "below" / "file").touch()
    assert folder.path.parent == tmp_path
    folder.close()
    folder.close()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_live_session_stays() -> None:
    """A session that starts while another one runs leaves the other's folder alone, in this process or in another."""
    mine = ScratchFolder()
    with session() as (process, theirs):
        another = ScratchFolder()
        assert (theirs / "log").read_text() == "a line"
        assert mine.path.exists()
        another.close()
        out, _ = process.communicate("go on\n")
        assert out == "closed\n"
        assert not theirs.exists()
    mine.close()


def test_the_folder_of_a_killed_session_is_removed_by_the_next() -> None:
    """SIGKILL leaves the folder where it is; the next session that needs a folder removes it."""
    with session() as (process, left):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (left / "log").exists()
        mine = ScratchFolder()
        assert not left.exists()
        assert mine.path.exists()
        mine.close()


def test_a_program_that_a_session_started_does_not_hold_its_folder() -> None:
    """A service that outlives a killed session for a moment inherits no lock: the folder is free at once."""
    starts_one = SESSION.replace(
        "input()", "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starts_one], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        left, pid = Path(process.stdout.readline().strip()), int(process.stdout.readline())
        try:
            process.kill()
            process.wait()
            assert remove_abandoned(left.parent) == [left]
        finally:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("name", ["inferbench-session-results", "inferbench-session-0123abc", "inferbench-0123abcd"])
def test_what_a_user_put_there_stays(tmp_path: Path, name: str) -> None:
    """Only names that this project makes are removed: not one that is longer, shorter, or without the prefix."""
    (tmp_path / name).mkdir()
    assert remove_abandoned(tmp_path) == []
    assert (tmp_path / name).is_dir()


def test_a_link_of_such_a_name_leads_nowhere(tmp_path: Path) -> None:
    """A symbolic link that is called like a folder of ours is not followed."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "inferbench-session-01234567").symlink_to(precious)
    assert remove_abandoned(tmp_path) == []
    assert precious.is_dir()
