"""Several generators make the run that one would have made, or none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import numpy as np
import psutil
import pytest

from pytest_inferbench.errors import LoadError, ValidationError
from pytest_inferbench.events import Progress
from pytest_inferbench.loadgen import LoadGenerator, Target
from pytest_inferbench.workload.arrivals import Constant, Poisson


def workers() -> list[int]:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if any("loadgen.worker" in part for part in child.cmdline()):
                found.append(child.pid)
    return found


def test_three_processes_make_the_run_of_one(server):
    """The same schedule, payloads and identity; every request was sent once; facts of all processes on one clock."""
    schedule = Poisson(150).schedule(1.0, seed=3)
    payloads = [{"number": i} for i in range(len(schedule))]
    target = Target(f"{server.url}/ok")
    one = asyncio.run(LoadGenerator(target).issue(schedule, payloads))
    sent_by_one = server.requests
    server.get("/reset-stats")
    three = asyncio.run(LoadGenerator(target, generators=3).issue(schedule, payloads))
    assert np.array_equal(np.diff(three.scheduled_ns), np.diff(schedule.offsets_ns))
    assert (three.seed, three.digest, three.payload_digest) == (one.seed, one.digest, one.payload_digest)
    assert three.error_rate == 0
    assert np.all(three.issue_delay_ns >= 0)
    assert np.all(three.service_time_ns > 0)
    assert sorted(r["body"] for r in server.requests) == sorted(r["body"] for r in sent_by_one)


def test_the_processes_exist_and_report_as_one(server):
    """While it runs there are as many processes as asked for; progress counts the requests of all of them."""
    seen: list[Progress] = []
    counts: list[int] = []

    def hear(progress: Progress) -> None:
        seen.append(progress)
        counts.append(len(workers()))

    schedule = Constant(50).schedule(3.0)
    generator = LoadGenerator(Target(f"{server.url}/ok"), on_progress=hear, generators=2)
    run = asyncio.run(generator.issue(schedule, [None] * len(schedule)))
    assert max(counts) == 2
    assert {p.scheduled for p in seen} == {len(schedule)} == {len(run)}
    assert seen[-1].issued > len(schedule) / 2
    assert workers() == []


def test_one_that_dies_leaves_nothing_half_merged(server):
    """One of two processes killed in mid-run: LoadError that names the signal, no run, and the other ends too."""
    killed: list[int] = []

    def kill(_: object) -> None:
        if not killed:
            killed.append(workers()[-1])
            os.kill(killed[0], signal.SIGKILL)

    schedule = Constant(50).schedule(60)
    generator = LoadGenerator(Target(f"{server.url}/ok"), on_progress=kill, generators=2)
    with pytest.raises(LoadError, match=r"SIGKILL.*nothing of the run is kept"):
        asyncio.run(generator.issue(schedule, [None] * len(schedule)))
    assert workers() == []


def test_a_closed_loop_is_divided_too(server):
    """Four users in two processes send every request once, and the run says that it was a closed loop."""
    payloads = [str(i) for i in range(50)]
    generator = LoadGenerator(Target(f"{server.url}/ok"), generators=2)
    run = asyncio.run(generator.issue_closed(payloads, concurrency=4))
    assert run.closed_loop
    assert run.error_rate == 0
    assert sorted(r["body"] for r in server.requests) == sorted(payloads)


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "2", "http://host:8786"])
def test_a_number_of_generators_that_makes_no_sense_is_refused(wrong):
    """Neither zero processes nor an address that is not a Dask scheduler's."""
    with pytest.raises(ValidationError, match="generators must be"):
        LoadGenerator(Target("http://127.0.0.1:9/"), generators=wrong)
