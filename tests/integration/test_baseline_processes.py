"""Stored baselines and real processes: killed in the middle of an update, or updating one file all at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("baseline_processes.py")


def run(scenario: str, folder: Path) -> dict[str, Any]:
    """Run one scenario of the script in a process without threads, and return what it saw."""
    done = subprocess.run([sys.executable, str(SCRIPT), scenario, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_kill_at_any_line_of_an_update_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    """SIGKILL before each line in turn: the file is the old one up to the rename and the new one from there on.

    The update after each kill neither waits for the dead process's lock nor leaves anything of its beside the file.
    """
    result = run("everywhere", tmp_path)
    seen = result["seen"]
    assert result["finished"], "the last one was not killed: every line had its turn"
    assert set(seen) == {"old", "new"}
    assert seen == sorted(seen, reverse=True)  # old, old, ..., new
    assert seen.count("old") > 20


def test_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    """SIGKILL again and again, whatever is being done: one whole version is stored, and the other entry stays."""
    result = run("anytime", tmp_path)
    assert set(result["seen"]) <= {f"{version}, 3000 requests, untouched" for version in (0, 1)}
    assert len(result["seen"]) == 25
    assert result["left"] == ["t.py--test_x.json"]


def test_processes_that_update_one_file_at_once_do_not_lose_each_others_entries(tmp_path: Path) -> None:
    """Eight processes, six workloads each, two updates of every one: all are stored, none was ever missing again."""
    result = run("together", tmp_path)
    assert result["stored"] == {f"w{writer}-{number}": "second" for writer in range(8) for number in range(6)}
    assert result["lost"] == []
    assert result["left"] == 1
