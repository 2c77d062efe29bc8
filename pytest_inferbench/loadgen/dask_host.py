"""What a Dask worker holds while it generates load: one worker process, and a lease on it. Imports distributed.

The Dask client calls :func:`call` on chosen workers with ``Client.run``, which is no task: the scheduler neither
moves nor repeats it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import Future, ThreadPoolExecutor

from distributed import Worker
from distributed.diagnostics.plugin import WorkerPlugin

from pytest_inferbench.errors import LoadError
from pytest_inferbench.loadgen.messages import Message, dumps, loads
from pytest_inferbench.loadgen.process import WorkerProcess

__all__ = ["LEASE_SECONDS", "GeneratorHost", "call", "read_clock"]

#: A process that nobody asked after for so long is ended: its user is gone, and must not leave a load behind.
LEASE_SECONDS = 15.0


class GeneratorHost(WorkerPlugin):
    """The process of one run on this Dask worker. A plugin, because Dask keeps those per worker and ends them too."""

    def setup(self, worker: Worker) -> None:
        """Called by Dask when the plugin arrives."""
        # One thread for as long as the process shall live: the kernel ends it with the thread that started it.
        self._talker = ThreadPoolExecutor(1, "inferbench-loadgen")
        self._process: WorkerProcess | None = None
        self._outcome: Future[Message] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._progress: Message | None = None
        self._asked = time.monotonic()

    def teardown(self, worker: Worker) -> None:
        """Called by Dask when the plugin or the worker goes."""
        self._end()
        if self._watch is not None:
            self._watch.cancel()
        self._talker.shutdown()
        if self._process is not None:
            self._process.close()

    async def prepare(self, job: bytes) -> bytes:
        """Start the process and give it its job; "ready", or "failed" with the reason."""
        if self._process is not None:
            return _failed("this worker already has a share of the run")
        self._watch = asyncio.get_running_loop().create_task(self._expire())
        try:
            await asyncio.wrap_future(self._talker.submit(self._start, job))
        except (LoadError, OSError) as error:
            return _failed(str(error))
        return dumps(Message("ready"))

    async def go(self, start_ns: int) -> bytes:
        """Let it start at ``start_ns`` of this machine's clock; returns at once."""
        if self._process is None or self._outcome is not None:
            return _failed("the worker is not the one that was prepared: it was restarted")
        self._outcome = self._talker.submit(self._process.go, start_ns, self._hear)
        return dumps(Message("going"))

    async def poll(self) -> bytes:
        """Return how far it is ("progress"), its facts ("run"), or why there are none ("failed")."""
        self._asked = time.monotonic()
        if self._outcome is None:
            return _failed("the worker is not the one that was started: it was restarted")
        if not self._outcome.done():
            return dumps(self._progress or Message("going"))
        try:
            return dumps(self._outcome.result())
        except LoadError as error:
            return _failed(str(error))

    def _start(self, job: bytes) -> None:
        self._process = WorkerProcess()
        self._process.prepare(loads(job))

    def _hear(self, message: Message) -> None:
        self._progress = message

    async def _expire(self) -> None:
        while (left := self._asked + LEASE_SECONDS - time.monotonic()) > 0:  # noqa: ASYNC110  # a lease, not an event
            await asyncio.sleep(left)
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.end()


async def call(name: str, method: str, *arguments: object, dask_worker: Worker) -> bytes:
    """Call ``method`` of the plugin ``name`` on this Dask worker; never raises: what it is given may be a secret."""
    host = dask_worker.plugins.get(name)
    if not isinstance(host, GeneratorHost):
        return _failed("the worker is not the one that was prepared: it was restarted")
    found: bytes = await getattr(host, method)(*arguments)
    return found


def read_clock() -> int:
    """Return this machine's monotonic clock, nanoseconds."""
    return time.monotonic_ns()


def _failed(reason: str) -> bytes:
    return dumps(Message("failed", {"reason": reason}))
