"""Generators on this machine: one worker process each, one clock, one agreed instant to start at."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from pytest_inferbench.loadgen.messages import Message
from pytest_inferbench.loadgen.process import WorkerProcess
from pytest_inferbench.loadgen.shards import Work, merge, split

__all__ = ["drive", "in_turns"]

#: From the last "ready" to the agreed start: time for the word to reach every worker on a busy machine.
_LEAD_NS = 1_000_000_000


async def drive(work: Work, generators: int, report: Callable[[int, Mapping[str, object]], None]) -> Message:
    """Do ``work`` with ``generators`` processes and return its facts. Raises LoadError if one fails: then all end.

    ``report`` is called in this event loop. Cancelling ends the processes at once.
    """
    loop = asyncio.get_running_loop()
    jobs = split(work, generators)

    def listener(k: int) -> Callable[[Message], None]:
        def receive_report(message: Message) -> None:
            loop.call_soon_threadsafe(report, k, message.facts)

        return receive_report

    workers: list[WorkerProcess] = []
    # Threads of our own: a busy loop delays nothing, and the default executor may be full of the caller's work.
    threads = ThreadPoolExecutor(len(jobs), "inferbench-loadgen")
    try:
        for _ in jobs:
            workers.append(WorkerProcess())
        pairs = zip(workers, jobs, strict=True)
        await asyncio.gather(*(loop.run_in_executor(threads, worker.prepare, job) for worker, job in pairs))
        # A generator alone chooses for itself: a message that comes late cannot spoil its start then.
        start_ns = None if len(jobs) == 1 else time.monotonic_ns() + _LEAD_NS
        results = await asyncio.gather(
            *(loop.run_in_executor(threads, w.go, start_ns, listener(k)) for k, w in enumerate(workers))
        )
    finally:
        for worker in workers:
            worker.end()  # which ends the conversations too
        threads.shutdown()
        for worker in workers:
            worker.close()
    return merge(results)


@contextlib.asynccontextmanager
async def in_turns(
    work: Work, report: Callable[[int, Mapping[str, object]], None]
) -> AsyncIterator[tuple[int, Callable[[], Awaitable[Message]]]]:
    """Yield a process, and what issues the next turn of ``work`` when called, and returns when that turn is drained.

    One process does them all, so that no turn pays for its start. What the last call returns holds the facts of all
    requests. Raises LoadError if the process fails. Leaving the block ends it.
    """
    loop = asyncio.get_running_loop()
    (job,) = split(work, 1)
    threads = ThreadPoolExecutor(1, "inferbench-loadgen")
    worker: WorkerProcess | None = None

    def listen(message: Message) -> None:
        loop.call_soon_threadsafe(report, 0, message.facts)

    async def turn() -> Message:
        assert worker is not None
        return await loop.run_in_executor(threads, worker.go, None, listen)

    try:
        # In its thread: the kernel ends the process when the thread that started it ends.
        worker = await loop.run_in_executor(threads, WorkerProcess)
        await loop.run_in_executor(threads, worker.prepare, job)
        yield worker.pid, turn
    finally:
        if worker is not None:
            worker.end()
        threads.shutdown()
        if worker is not None:
            worker.close()
