"""Generators on the workers of a Dask cluster: a real scheduler and two real worker processes on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import psutil
import pytest

from pytest_inferbench.errors import ConfigurationError, LoadError
from pytest_inferbench.loadgen import LoadGenerator, Target
from pytest_inferbench.workload.arrivals import Constant, Poisson

pytest.importorskip("distributed")


@dataclass(frozen=True)
class Cluster:
    address: str
    workers: list[subprocess.Popen[bytes]]

    def generators(self) -> list[psutil.Process]:
        """The load generator's processes on all workers."""
        found = []
        for child in [child for worker in self.workers for child in _children(worker.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
                if any("loadgen.worker" in part for part in child.cmdline()):
                    found.append(child)
        return found


def _children(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children()
    return []


def _dask(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _said(process: subprocess.Popen[bytes], pattern: str) -> str:
    """Wait until the process says something, and return the group of the pattern."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(pattern, line.decode()):
            return found[1]
    raise AssertionError(f"it ended without saying {pattern}")


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Iterator[Cluster]:
    """A scheduler with two workers, each a process, without nannies that would restart them.

    On a machine with other work the clocks are known less well, and the word to start takes longer.
    """
    monkeypatch.setattr("pytest_inferbench.loadgen.clocks.bounded.__kwdefaults__", {"limit_ns": 10**9})
    monkeypatch.setattr("pytest_inferbench.loadgen.dask._LEAD_NS", 3 * 10**9)
    with contextlib.ExitStack() as stack:

        def begin(*arguments: str) -> subprocess.Popen[bytes]:
            process = stack.enter_context(_dask(*arguments))
            stack.callback(process.kill)
            return process

        scheduler = begin("scheduler", "--host", "127.0.0.1", "--port", "0")
        address = _said(scheduler, r"Scheduler at:\s+(tcp://\S+)")
        options = ("--no-nanny", "--nthreads", "1", "--local-directory", str(tmp_path))
        workers = [begin("worker", address, *options) for _ in range(2)]
        for worker in workers:
            _said(worker, r"(Registered to)")
        yield Cluster(address, workers)


def _all_end(cluster: Cluster) -> bool:
    deadline = time.monotonic() + 30
    while cluster.generators() and time.monotonic() < deadline:
        time.sleep(0.05)
    return cluster.generators() == []


def test_two_workers_make_the_run_of_one(server, cluster):
    """Every request is sent once, on schedule, with the identity of a single run; both clocks are on record."""
    schedule = Poisson(100).schedule(2.0, seed=5)
    payloads = [{"number": i} for i in range(len(schedule))]
    target = Target(f"{server.url}/ok", headers={"Authorization": "Bearer s3cret"})
    seen: list[int] = []
    generator = LoadGenerator(target, generators=cluster.address, on_progress=lambda _: seen.append(1))
    run = asyncio.run(generator.issue(schedule, payloads))
    assert (run.seed, run.digest) == (5, schedule.digest)
    assert run.error_rate == 0
    # On one machine both clocks are ours, whatever the measured offset says: it may be off by its error.
    errors = {clock.generator: clock.error_ns for clock in run.clocks}
    assert len(errors) == 2
    assert all(abs(clock.offset_ns) <= clock.error_ns for clock in run.clocks)
    drawn_apart = np.abs(np.diff(run.scheduled_ns) - np.diff(schedule.offsets_ns)).max()
    assert drawn_apart <= sum(errors.values())
    assert np.all(run.service_time_ns > 0)
    sent = server.requests
    assert len(sent) == len(schedule)
    assert {r["headers"]["authorization"] for r in sent} == {"Bearer s3cret"}
    assert seen
    assert _all_end(cluster)
    # A second run on the same cluster is as good as the first.
    again = asyncio.run(LoadGenerator(target, generators=cluster.address).issue_closed(payloads[:10], concurrency=2))
    assert again.closed_loop
    assert again.error_rate == 0


def test_a_worker_that_dies_ends_the_run_with_nothing_half_merged(server, cluster):
    """One worker killed in mid-run: LoadError that names it, no share moved to the other, whose process ends too."""
    schedule = Constant(50).schedule(60)
    killed: list[int] = []

    def kill(_: object) -> None:
        if not killed:
            killed.append(cluster.workers[0].pid)
            cluster.workers[0].send_signal(signal.SIGKILL)

    generator = LoadGenerator(Target(f"{server.url}/ok"), generators=cluster.address, on_progress=kill)
    with pytest.raises(LoadError, match=r"tcp://.*nothing of the run is kept"):
        asyncio.run(generator.issue(schedule, [str(i) for i in range(len(schedule))]))
    assert _all_end(cluster)
    bodies = [r["body"] for r in server.requests]
    assert len(bodies) == len(set(bodies)) < len(schedule)


def test_cancelling_ends_the_processes_on_the_workers(server, cluster):
    """When the task is cancelled, as Ctrl-C does, no worker goes on sending."""
    schedule = Constant(20).schedule(60)

    async def main() -> None:
        started = asyncio.Event()
        generator = LoadGenerator(
            Target(f"{server.url}/ok"), generators=cluster.address, on_progress=lambda _: started.set()
        )
        task = asyncio.create_task(generator.issue(schedule, [None] * len(schedule)))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)  # it may fail before it begins
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert _all_end(cluster)


def test_a_cluster_that_is_not_there_is_named(monkeypatch):
    """Nothing listens: ConfigurationError with the address and what starts a scheduler."""
    monkeypatch.setattr("pytest_inferbench.loadgen.dask._CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ConfigurationError, match=rf"no Dask scheduler answers at {address}.*dask scheduler"):
        asyncio.run(LoadGenerator(Target("http://127.0.0.1:9/"), generators=address).issue_closed([None]))


def test_without_dask_the_extra_is_named(monkeypatch):
    """Where distributed is not installed, the error says what to install."""
    for name in [name for name in sys.modules if name.startswith("pytest_inferbench.loadgen.dask")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigurationError, match=r"pytest-inferbench\[dask\]"):
        asyncio.run(LoadGenerator(Target("http://127.0.0.1:9/"), generators="tcp://127.0.0.1:1").issue_closed([None]))
