"""The generator's process ends when it should, and says so when it should not have."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from pytest_inferbench.errors import LoadError
from pytest_inferbench.loadgen import LoadGenerator, Target
from pytest_inferbench.workload.arrivals import Constant


def workers(parent: int | None = None) -> list[psutil.Process]:
    children = psutil.Process(parent).children()
    found = []
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            if any("loadgen.worker" in part for part in child.cmdline()):
                found.append(child)
    return found


def ends_soon(process: psutil.Process) -> bool:
    """Whether the process is gone, given ample time."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_a_worker_that_dies_is_a_load_error(server):
    """A worker killed in mid-run raises LoadError that names the signal; there is no partial run."""
    schedule = Constant(20).schedule(60)
    killed: list[int] = []

    def kill(_: object) -> None:
        if not killed:
            killed.extend(p.pid for p in workers())
            os.kill(killed[0], signal.SIGKILL)

    generator = LoadGenerator(Target(f"{server.url}/ok"), on_progress=kill)
    with pytest.raises(LoadError, match="SIGKILL"):
        asyncio.run(generator.issue(schedule, [None] * len(schedule)))
    assert len(killed) == 1


def test_a_worker_that_fails_shows_what_it_said(server, tmp_path, monkeypatch):
    """A worker that cannot start raises LoadError with its status and the tail of its stderr."""
    (tmp_path / "aiohttp.py").write_text("raise ImportError('a client that is broken')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(LoadError, match=r"status 1 .*\n(.*\n)*ImportError: a client that is broken"):
        asyncio.run(LoadGenerator(Target(f"{server.url}/ok")).issue_closed([None]))


def test_cancelling_ends_the_worker_at_once(server):
    """When the task is cancelled, as Ctrl-C does, the worker is gone by the time the cancellation arrives."""
    schedule = Constant(20).schedule(60)

    async def main() -> list[psutil.Process]:
        started = asyncio.Event()
        generator = LoadGenerator(Target(f"{server.url}/ok"), on_progress=lambda _: started.set())
        task = asyncio.create_task(generator.issue(schedule, [None] * len(schedule)))
        await started.wait()
        found = workers()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return found

    found = asyncio.run(main())
    assert len(found) == 1
    assert not found[0].is_running()


SCRIPT = """
import asyncio, sys
from pytest_inferbench.workload.arrivals import Constant
from pytest_inferbench.loadgen import LoadGenerator, Target
schedule = Constant(20).schedule(600)
generator = LoadGenerator(Target(sys.argv[1]), on_progress=lambda p: print("under way", flush=True))
asyncio.run(generator.issue(schedule, [None] * len(schedule)))
"""


def test_a_worker_does_not_outlive_a_killed_parent(server):
    """SIGKILL of the parent leaves no worker behind."""
    command = [sys.executable, "-c", SCRIPT, f"{server.url}/ok"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "under way\n"
        (worker,) = workers(parent.pid)
        parent.kill()
    assert ends_soon(worker)


def test_the_end_of_its_input_ends_a_worker(server):
    """A worker whose parent lets go of the pipe ends by itself: the way that works where the kernel does not help."""
    command = [sys.executable, "-m", "pytest_inferbench.loadgen.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        worker.stdin.close()
        assert worker.wait(60) == 1


def test_two_generators_may_run_at_once(server):
    """Two runs in one event loop do not mix."""

    async def main() -> list[int]:
        schedule = Constant(50).schedule(1)
        ok, missing = (LoadGenerator(Target(server.url + path)) for path in ("/ok", "/status/404"))
        runs = await asyncio.gather(*(g.issue(schedule, [None] * len(schedule)) for g in (ok, missing)))
        return [int(status) for run in runs for status in set(run.status.tolist())]

    assert asyncio.run(main()) == [200, 404]
