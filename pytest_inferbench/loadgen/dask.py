"""Generators on other machines: one on each worker of a Dask cluster that already runs. Imports distributed.

What each drives is the same worker process as on this machine; Dask only carries the jobs there and the facts back.
Nothing is submitted as a task: a share of a run stays where it was put, and is lost with its worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from distributed import Client

from pytest_inferbench.errors import ConfigurationError, LoadError
from pytest_inferbench.loadgen.clocks import bounded, offset_of
from pytest_inferbench.loadgen.dask_host import GeneratorHost, call, read_clock
from pytest_inferbench.loadgen.messages import Message, dumps, loads
from pytest_inferbench.loadgen.shards import Work, merge, split
from pytest_inferbench.runs.run import ClockOffset

__all__ = ["drive"]

Report = Callable[[int, Mapping[str, object]], None]

_CONNECT_SECONDS = 15.0
_PREPARE_SECONDS = 60.0
_CALL_SECONDS = 10.0
_POLL_SECONDS = 0.25
_GRACE_SECONDS = 30.0  #: for the facts to come back, after the last instant at which a run can end
_LEAD_NS = 1_000_000_000
_CLOCK_READINGS = 30


async def drive(work: Work, address: str, report: Report) -> tuple[Message, tuple[ClockOffset, ...]]:
    """Do ``work`` with the workers of the Dask scheduler at ``address``; return its facts, on our clock.

    One generator per worker. Raises ConfigurationError if there is no such cluster, LoadError if a clock is not known
    well enough or a generator is lost: the others are ended then, nothing is repeated, and nothing of the run is kept.
    """
    loop = asyncio.get_running_loop()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[object]]] = []
    given_up = threading.Event()

    def tell(k: int, facts: Mapping[str, object]) -> None:
        loop.call_soon_threadsafe(report, k, facts)

    async def converse() -> tuple[Message, tuple[ClockOffset, ...]]:
        task = asyncio.current_task()
        assert task is not None
        running.append((asyncio.get_running_loop(), task))
        if given_up.is_set():
            raise asyncio.CancelledError
        return await _converse(work, address, tell)

    # A thread and a loop of its own: the client has much to do, and the caller's loop may be busy or of another kind.
    with ThreadPoolExecutor(1, "inferbench-dask") as talker:
        try:
            return await loop.run_in_executor(talker, lambda: asyncio.run(converse()))
        except asyncio.CancelledError:
            given_up.set()
            for its_loop, task in running:
                with contextlib.suppress(RuntimeError):  # it ended by itself just now
                    its_loop.call_soon_threadsafe(task.cancel)
            raise


async def _converse(work: Work, address: str, tell: Report) -> tuple[Message, tuple[ClockOffset, ...]]:
    try:
        client = await Client(  # type: ignore[no-untyped-call]
            address, asynchronous=True, set_as_default=False, timeout=_CONNECT_SECONDS
        )
    except (OSError, TimeoutError) as error:
        raise ConfigurationError(
            f"no Dask scheduler answers at {address}: {error}; start one with `dask scheduler`"
        ) from None
    async with client:
        addresses = sorted(await client.nthreads())
        if not addresses:
            raise ConfigurationError(
                f"the Dask cluster at {address} has no workers: start some with `dask worker {address}`"
            )
        jobs = split(work, len(addresses))
        name = f"inferbench-{uuid.uuid4().hex}"
        generators = [_Generator(client, name, worker) for worker in addresses[: len(jobs)]]
        await _bounded(client.register_plugin(GeneratorHost(), name=name), _CALL_SECONDS, address)
        try:
            return await _run(work, jobs, generators, tell)
        finally:
            with contextlib.suppress(OSError, TimeoutError, LoadError):  # the lease ends what this does not reach
                await _bounded(client.unregister_worker_plugin(name), _CALL_SECONDS, address)


async def _run(
    work: Work, jobs: Sequence[Message], generators: Sequence[_Generator], tell: Report
) -> tuple[Message, tuple[ClockOffset, ...]]:
    pairs = zip(generators, jobs, strict=True)
    await asyncio.gather(*(generator.prepare(job) for generator, job in pairs))
    clocks = [bounded(await generator.clock()) for generator in generators]
    start_ns = time.monotonic_ns() + _LEAD_NS
    await asyncio.gather(*(g.go(start_ns + c.offset_ns) for g, c in zip(generators, clocks, strict=True)))
    try:
        async with asyncio.timeout(_LEAD_NS / 1e9 + _longest(work) + _GRACE_SECONDS):
            results = await asyncio.gather(*(g.result(k, tell) for k, g in enumerate(generators)))
    except TimeoutError:
        raise LoadError("the load generators did not end when they should have; nothing of the run is kept") from None
    clocks = [bounded(c, await g.clock()) for g, c in zip(generators, clocks, strict=True)]
    return merge(results, shifts_ns=[-clock.offset_ns for clock in clocks]), tuple(clocks)


class _Generator:
    """The generator on one Dask worker, as the client sees it. Every call is bounded; losing it is a LoadError."""

    def __init__(self, client: Client, name: str, worker: str) -> None:
        self._client = client
        self._name = name
        self.worker = worker

    async def prepare(self, job: Message) -> None:
        await self._call(_PREPARE_SECONDS, "prepare", dumps(job))

    async def go(self, start_ns: int) -> None:
        await self._call(_CALL_SECONDS, "go", start_ns)

    async def result(self, k: int, tell: Report) -> Message:
        """Ask until the run is over. Raises LoadError if the generator fails or is lost."""
        while (message := await self._poll()).kind != "run":
            if message.kind == "progress":
                tell(k, message.facts)
            await asyncio.sleep(_POLL_SECONDS)
        return message

    async def clock(self) -> ClockOffset:
        readings = []
        for _ in range(_CLOCK_READINGS):
            before = time.monotonic_ns()
            theirs = await self._remote(_CALL_SECONDS, read_clock)
            after = time.monotonic_ns()
            if not isinstance(theirs, int):
                raise self._lost(theirs)
            readings.append((before, theirs, after))
        return offset_of(self.worker, readings)

    async def _poll(self) -> Message:
        # The scheduler knows at once that a worker is gone; a call to it would wait for its answer first.
        request = self._client.nthreads()  # type: ignore[no-untyped-call]
        members = await _bounded(request, _CALL_SECONDS, self.worker)
        if self.worker not in cast("Mapping[str, int]", members):
            raise self._lost("it left the cluster")
        return await self._call(_CALL_SECONDS, "poll")

    async def _call(self, seconds: float, method: str, *arguments: object) -> Message:
        answer = await self._remote(seconds, call, self._name, method, *arguments)
        if not isinstance(answer, bytes):
            raise self._lost(answer)
        message = loads(answer)
        if message.kind == "failed":
            raise self._lost(message.facts["reason"])
        return message

    async def _remote(self, seconds: float, function: Callable[..., object], *arguments: object) -> object:
        request = self._client.run(function, *arguments, workers=[self.worker], on_error="return")
        answers = await _bounded(request, seconds, self.worker)
        return answers.get(self.worker, "it left the cluster") if isinstance(answers, dict) else answers

    def _lost(self, reason: object) -> LoadError:
        why = f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else reason
        return LoadError(f"the load generator on Dask worker {self.worker} is lost, nothing of the run is kept: {why}")


async def _bounded(request: object, seconds: float, who: str) -> object:
    """Await a call to the cluster for so long. Raises LoadError if it fails as a call, or takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await request  # type: ignore[misc]
    except TimeoutError:
        raise LoadError(f"Dask at {who} did not answer for {seconds:g} s; nothing of the run is kept") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise LoadError(f"Dask at {who} failed, nothing of the run is kept: {error}") from None


def _longest(work: Work) -> float:
    """Return the seconds that the run can last."""
    if work.offsets_ns is not None:
        return (work.total_ns + work.drain_ns) / 1e9
    timeout = work.target["timeout"]
    assert isinstance(timeout, int | float)
    return timeout * -(-len(work.bodies) // work.concurrency)
