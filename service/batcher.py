"""Batching that never holds a request back while the engine is idle.

BentoML's own adaptive batching waits for company as long as its recent batches waited: after a burst it delays single
requests by that burst's queueing time although nothing else runs (measured after 1000 requests at once: 6 s each,
against 25 ms). Latency would depend on what ran before, which no benchmark can tell from a slow model.

Here a batch is whatever has queued up while the previous one was computed, at most ``max_batch_size``: under light
load one text, under heavy load full batches.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from service.classifier import Answer, Queued


class TooLate(Exception):
    """The answer would come after ``max_latency_ms``; the request is shed instead of computed."""


class Batcher:
    """Collects texts for ``compute``, which runs in one thread of its own, one batch at a time.

    To be used from one event loop. A text is shed when its age and the duration of the latest batch together exceed
    ``max_latency_ms``; one whose waiter was cancelled is dropped without taking a place in a batch.
    """

    def __init__(
        self, compute: Callable[[Sequence[Queued]], list[Answer]], *, max_batch_size: int, max_latency_ms: int
    ) -> None:
        self._compute = compute
        self._max_batch_size = max_batch_size
        self._max_latency_ns = max_latency_ms * 1_000_000
        self._waiting: deque[tuple[Queued, asyncio.Future[Answer]]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batcher")
        self._worker: asyncio.Task[None] | None = None
        self._latest_ns = 0

    async def submit(self, item: Queued) -> Answer:
        """The answer to one text.

        Raises:
            TooLate: it was shed.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            started = time.monotonic_ns()
            computing = loop.run_in_executor(self._thread, self._compute, [item for item, _ in batch])
            # Not awaited directly: a failure belongs to the requests of this batch, and the next one goes on.
            await asyncio.wait({computing})
            self._latest_ns = time.monotonic_ns() - started
            error = computing.exception()
            for index, (_, future) in enumerate(batch):
                if future.done():
                    continue
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(computing.result()[index])

    def _next_batch(self) -> list[tuple[Queued, asyncio.Future[Answer]]]:
        batch: list[tuple[Queued, asyncio.Future[Answer]]] = []
        now = time.monotonic_ns()
        while self._waiting and len(batch) < self._max_batch_size:
            item, future = self._waiting.popleft()
            if future.done():
                continue
            if now - item.ticket.arrived_ns + self._latest_ns > self._max_latency_ns:
                future.set_exception(TooLate)
                continue
            batch.append((item, future))
        return batch
