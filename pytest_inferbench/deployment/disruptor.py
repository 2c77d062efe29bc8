"""Carries out the disruptions of one run at their instants, undoes them, and keeps what really happened."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit, urlunsplit

import psutil

from pytest_inferbench.deployment import Deployment
from pytest_inferbench.deployment.helper_process import helper_command
from pytest_inferbench.deployment.proxy import DelayProxy, open_proxy
from pytest_inferbench.deployment.workers import choose, find_workers, send
from pytest_inferbench.disruption import (
    CLUSTER_ONLY,
    CpuPressure,
    Disruption,
    DisruptionEvent,
    Freeze,
    KillWorker,
    MemoryPressure,
    Restart,
    SlowNetwork,
    describe_disruption,
    instant,
)
from pytest_inferbench.errors import DeploymentError
from pytest_inferbench.events import Progress
from pytest_inferbench.loadgen import Target

__all__ = ["Disruptable", "Disruptor", "DisruptsItself", "InjectedFault", "objection"]

#: How long a manager may take to replace a worker that ended; seconds.
_REPLACED_WITHIN = 60.0
_POLL_SECONDS = 0.05


@runtime_checkable
class Disruptable(Protocol):
    """A deployment whose processes are ours to disturb: on this machine, ``pid`` its main process."""

    pid: int
    port: int

    @property
    def worker_count(self) -> int:
        """How many workers it is deployed with."""

    def restart(self) -> None:
        """End the service gracefully and start it again on the same port; return when it is ready. Blocking."""


@dataclass(slots=True)
class InjectedFault:
    """One disruption under way: monotonic nanoseconds, and what was done."""

    disruption: Disruption
    began_ns: int | None = None
    ended_ns: int | None = None
    detail: str = "the run ended before its instant"

    def begin(self, detail: str) -> None:
        """Note that its effect sets in now."""
        self.began_ns = time.monotonic_ns()
        self.detail = detail


@runtime_checkable
class DisruptsItself(Protocol):
    """A deployment that is not processes of this machine, and carries out itself what is done to it: a cluster."""

    def objection(self, disruption: Disruption) -> str:
        """Return why it cannot be disrupted so; empty if it can, as far as is known before it is booted."""

    async def disrupt(self, fault: InjectedFault) -> None:
        """Carry out ``fault.disruption`` now, note in ``fault`` when it begins, and return once it is undone.

        Cancelled, it is undone at once. Raises DeploymentError if it cannot be carried out.
        """


def objection(service: Deployment, disruption: Disruption, target: Target) -> str:
    """Return why ``service``, not booted yet, cannot be disrupted so; empty if it can."""
    what = describe_disruption(disruption)
    if isinstance(disruption, SlowNetwork):
        if target.is_absolute and target.url.startswith("https:"):
            return f"{what}: a proxy in the path of https would need the service's certificate; use http"
        return ""
    if isinstance(service, DisruptsItself):
        problem = service.objection(disruption)
        return f"{what}: {problem}" if problem else ""
    if not isinstance(service, Disruptable):
        return (
            f"{what}: the plugin did not start the service, so it cannot disturb its processes or its machine; "
            "start it under a profile, or use SlowNetwork"
        )
    if isinstance(disruption, CLUSTER_ONLY):
        return (
            f"{what}: the service runs as processes on this machine, not in a cluster; use a profile of "
            "deployment.kind 'kubernetes', or KillWorker, Freeze or Restart"
        )
    if isinstance(disruption, KillWorker | Freeze) and disruption.workers != "all":
        count = service.worker_count
        if disruption.workers > count:
            return f"{what}: the service has only {count}; raise deployment.workers of the profile"
    if isinstance(disruption, MemoryPressure):
        free = psutil.virtual_memory().available
        if int(disruption.amount) > free // 2:
            return f"{what}: this is more than half of the {free} bytes of free memory; use less"
    return ""


class Disruptor:
    """The disruptions of one run against one booted ``service``. Without any it costs nothing."""

    def __init__(self, disruptions: Sequence[Disruption], service: Deployment) -> None:
        self._faults = [InjectedFault(disruption) for disruption in disruptions]
        self._service = service
        self._started: asyncio.Event = asyncio.Event()
        self._start_ns = 0
        self._proxy: DelayProxy | None = None
        self._pressing: list[subprocess.Popen[bytes]] = []

    @asynccontextmanager
    async def in_path(self, target: Target) -> AsyncIterator[Target]:
        """Yield where requests shall go: ``target``, or a proxy before it if the network is to be slow."""
        if not any(isinstance(fault.disruption, SlowNetwork) for fault in self._faults):
            yield target
            return
        parts = urlsplit(target.url)
        async with open_proxy(parts.hostname or "", parts.port or 80) as proxy:
            self._proxy = proxy
            credentials, at, _ = parts.netloc.rpartition("@")
            yield replace(target, url=urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{proxy.port}")))

    def listen(self, report: Callable[[Progress], None]) -> Callable[[Progress], None]:
        """Return ``report``, which also notes when the clock of the run starts."""

        def observe(progress: Progress) -> None:
            if not self._started.is_set():
                self._start_ns = time.monotonic_ns() - round(progress.elapsed * 1e9)
                self._started.set()
            report(progress)

        return observe

    @asynccontextmanager
    async def armed(self) -> AsyncIterator[None]:
        """While the context is open, carry out each disruption at its instant; on leaving, undo what still lasts.

        Processes that pressed are waited for on leaving only: the CPU time of a child counts as ours from then on.
        """
        tasks = [asyncio.create_task(self._carry_out(fault)) for fault in self._faults]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for process in self._pressing:
                process.communicate()

    def events(self) -> tuple[DisruptionEvent, ...]:
        """Return what came about, one event per disruption, in order of their planned instants."""
        return tuple(
            DisruptionEvent(
                disruption=fault.disruption,
                began_ns=fault.began_ns,
                ended_ns=fault.ended_ns,
                start_ns=self._start_ns,
                detail=fault.detail,
            )
            for fault in self._faults
        )

    async def _carry_out(self, fault: InjectedFault) -> None:
        await self._started.wait()
        due = self._start_ns + round(instant(fault.disruption) * 1e9)
        await asyncio.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        try:
            match fault.disruption:
                case SlowNetwork():
                    await self._slow(fault, fault.disruption)
                case _ if isinstance(self._service, DisruptsItself):
                    await self._service.disrupt(fault)
                case KillWorker():
                    await self._kill(fault, fault.disruption)
                case Freeze():
                    await self._freeze(fault, fault.disruption)
                case Restart():
                    await self._restart(fault, fault.disruption)
                case CpuPressure() | MemoryPressure():
                    await self._press(fault, fault.disruption)
        except (DeploymentError, OSError, psutil.Error) as error:
            fault.detail = f"{type(error).__name__}: {error}"
        finally:
            if fault.began_ns is not None:
                fault.ended_ns = time.monotonic_ns()

    async def _workers(self) -> tuple[list[psutil.Process], bool]:
        assert isinstance(self._service, Disruptable)
        return await asyncio.to_thread(find_workers, self._service.pid, self._service.port)

    async def _kill(self, fault: InjectedFault, kill: KillWorker) -> None:
        victims = choose((await self._workers())[0], kill.workers)
        fault.began_ns = time.monotonic_ns()
        fault.detail = f"SIGKILL to {_pids(send(victims, signal.SIGKILL))}"

    async def _freeze(self, fault: InjectedFault, freeze: Freeze) -> None:
        victims = choose((await self._workers())[0], freeze.workers)
        fault.began_ns = time.monotonic_ns()
        try:
            fault.detail = f"SIGSTOP to {_pids(send(victims, signal.SIGSTOP))}"
            await asyncio.sleep(float(freeze.duration))
        finally:
            send(victims, signal.SIGCONT)

    async def _press(self, fault: InjectedFault, press: CpuPressure | MemoryPressure) -> None:
        kind, number, amount = "memory", 1, 0
        if isinstance(press, CpuPressure):
            kind, number = "cpu", press.processes
        else:
            amount = int(press.amount)
        words = helper_command("press", kind, str(float(press.duration)), str(amount))
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for _ in range(number):
                processes.append(_start(words))
                self._pressing.append(processes[-1])
            for process in processes:
                assert process.stdout is not None
                if not await asyncio.to_thread(process.stdout.readline):
                    raise DeploymentError(f"a process for the {kind} pressure ended immediately")
            fault.began_ns = time.monotonic_ns()
            fault.detail = f"{number} x {kind} by {_pids([process.pid for process in processes])}"
            for process in processes:
                assert process.stdout is not None
                await asyncio.to_thread(process.stdout.read)  # until it ends
        finally:
            for process in processes:
                os.kill(process.pid, signal.SIGKILL)  # process.kill() would wait for one that has ended

    async def _slow(self, fault: InjectedFault, slow: SlowNetwork) -> None:
        assert self._proxy is not None
        fault.began_ns = time.monotonic_ns()
        self._proxy.delay += float(slow.delay)
        fault.detail = f"{float(slow.delay):g} s each way, through a proxy on port {self._proxy.port}"
        try:
            await asyncio.sleep(float(slow.duration))
        finally:
            self._proxy.delay -= float(slow.delay)

    async def _restart(self, fault: InjectedFault, restart: Restart) -> None:
        assert isinstance(self._service, Disruptable)
        workers, managed = await self._workers()
        if not managed or len(workers) < 2:
            fault.began_ns = time.monotonic_ns()
            fault.detail = "the whole service was ended by SIGTERM and was not ready again by the end of the run"
            await asyncio.to_thread(self._service.restart)
            fault.detail = "the whole service was ended by SIGTERM and started again"
            return
        done: list[int] = []
        for worker in workers:
            if done:
                await asyncio.sleep(float(restart.pause))
            fault.began_ns = fault.began_ns or time.monotonic_ns()
            done += send([worker], signal.SIGTERM)
            fault.detail = f"SIGTERM to {_pids(done)} of {len(workers)} workers, one after the other"
            await self._replaced(worker, len(workers))
        fault.detail += ", each replaced"

    async def _replaced(self, worker: psutil.Process, count: int) -> None:
        deadline = time.monotonic() + _REPLACED_WITHIN
        while time.monotonic() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
            present, _ = await self._workers()
            if worker.pid not in [process.pid for process in present] and len(present) >= count:
                return
        raise DeploymentError(f"worker {worker.pid} got SIGTERM and was not replaced within {_REPLACED_WITHIN:g} s")


def _start(words: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _pids(pids: Sequence[int]) -> str:
    return f"pid {', '.join(map(str, pids))}" if pids else "no process: all had ended"
