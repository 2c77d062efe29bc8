"""--inferbench-resume: a session that was interrupted goes on where it was."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.plugin.conftest import Bench

TWO = """
import os
from pytest_inferbench import SLO

async def test_first(inference_service, steady):
    assert (await steady.measure(inference_service)).runs

async def test_capacity(inference_service, capacity):
    assert (await capacity.find(inference_service, SLO(p95="60ms"), boots=1, duration=0.5, precision=0.9)).rate

async def test_second(inference_service, bursty):
    if os.environ.get("STOP"):
        raise KeyboardInterrupt
    assert (await bursty.measure(inference_service)).runs
"""

# One answer at a time: such a service has a capacity.
SERIAL = {name: {"answer": 0.01, "serial": True} for name in ("baseline", "other")}


@pytest.fixture
def interrupted(bench: Bench, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A session that ended in its last test, as by Ctrl-C, when it had measured one workload (and the capacity)."""
    chosen = getattr(request, "param", "first or second")
    bench.configure(profiles=SERIAL, rate=40, duration="0.3s")
    bench.pytester.makepyfile(TWO)
    monkeypatch.setenv("STOP", "1")
    with pytest.raises(KeyboardInterrupt):
        bench.run("--against=other", "-k", chosen, repeats=2)
    monkeypatch.delenv("STOP")
    return bench


@pytest.mark.parametrize("interrupted", ["test_"], indirect=True)
def test_what_was_measured_is_taken_up_and_the_rest_is_measured(interrupted: Bench) -> None:
    """No boot for what is there; the report says which runs are old; afterwards there is nothing to resume."""
    before = len(interrupted.boots)
    assert before == 5  # two pairs and a search
    session = interrupted.run("--against=other", "--inferbench-resume", repeats=2)
    session.result.assert_outcomes(passed=3)
    assert len(interrupted.boots) - before == 4
    first, second = session.measurements
    assert "2 of these 2 runs are those of the interrupted session" in first["ended"]
    assert "interrupted" not in second["ended"]
    interrupted.run("--against=other", "--inferbench-resume", "-k", "first", repeats=2)
    assert len(interrupted.boots) - before == 4 + 4, "a session that was complete leaves nothing to resume"


def test_more_repeats_go_on_from_those_that_are_there(interrupted: Bench) -> None:
    """The seeds continue: three runs of which two are old."""
    before = len(interrupted.boots)
    session = interrupted.run("--against=other", "--inferbench-resume", "-k", "first", repeats=3)
    assert len(interrupted.boots) - before == 2
    assert [run["seed"] for run in session.measurements[0]["runs"]] == [0, 1, 2]


@pytest.mark.parametrize("change", ["no option", "profile", "code"])
def test_what_has_changed_is_measured_anew(interrupted: Bench, change: str) -> None:
    """Runs of two versions, of two profiles or of two schedules are never mixed."""
    before = len(interrupted.boots)
    options = ["--against=other", "-k", "first", "--inferbench-resume"]
    if change == "no option":
        options.pop()
    elif change == "profile":
        interrupted.configure(profiles={**SERIAL, "baseline": {"answer": 0.02}}, rate=40, duration="0.3s")
    else:
        subprocess.run(["git", "init", "--quiet"], cwd=interrupted.path, check=True)
    assert len(interrupted.run(*options, repeats=2).measurements) == 1
    assert len(interrupted.boots) - before == 4


def test_a_killed_session_can_be_resumed_from_its_last_pair(bench: Bench) -> None:
    """SIGKILL in the middle of a measurement: the pairs before it are not lost."""
    bench.configure(profiles={"baseline": {"delay": 0.1}, "other": {"delay": 0.1}}, duration="0.3s")
    bench.pytester.makepyfile(TWO)
    command = [sys.executable, "-m", "pytest", "-q", "-k", "first", "--against=other", "--inferbench-repeats=50"]
    process = subprocess.Popen(command, cwd=bench.path, stdout=subprocess.DEVNULL)
    while len(bench.boots) < 5:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(bench.boots)
    session = bench.run("--against=other", "--inferbench-resume", "-k", "first", repeats=3)
    assert "2 of these 3 runs are those of the interrupted session" in session.measurements[0]["ended"]
    assert len(bench.boots) - before == 2


class Bomb:
    """Pickled, it makes a folder in whoever unpickles it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.path,))


def test_a_file_of_somebody_else_is_not_run_and_measured_anew(interrupted: Bench) -> None:
    """Whatever a restored cache holds: no traceback, and no code of it is run."""
    (file,) = interrupted.path.glob(".pytest_cache/d/inferbench/*")
    mark = interrupted.path / "exploded"
    for path in (file, file.with_suffix(".pickle")):
        path.write_bytes(pickle.dumps(Bomb(str(mark))))
    session = interrupted.run("--against=other", "--inferbench-resume", "-k", "first", repeats=2)
    session.result.assert_outcomes(passed=1)
    assert "interrupted" not in session.measurements[0]["ended"]
    assert not mark.exists()


RELUCTANT = """
from pytest_inferbench import CpuPressure

class Own(CpuPressure):
    def __reduce__(self):
        raise TypeError("not to be pickled")

async def test_it(inference_service, steady):
    measurement = await steady.measure(inference_service, disruptions=[Own(at=0.1, duration=0.1)])
    assert len(measurement.runs) == 2
"""


def test_what_cannot_be_stored_is_measured_all_the_same(bench: Bench) -> None:
    """A class of the test's own costs the chance to resume, and nothing else; it is said once."""
    bench.configure(rate=40, duration="0.3s")
    bench.pytester.makepyfile(RELUCTANT)
    session = bench.run(repeats=2)
    session.result.assert_outcomes(passed=1)
    assert session.result.ret == 0
    assert session.result.stdout.str().count("will measure again what could not be stored (Own where") == 1
    assert not list(bench.path.glob(".pytest_cache/d/inferbench/*"))
