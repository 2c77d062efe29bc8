"""Batching that never holds a request back while the engine is idle, and pads little.

BentoML's own adaptive batching waits for company as long as its recent batches waited: after a burst it delays single
requests by that burst's queueing time although nothing else runs. Latency would depend on what ran before, which no
benchmark can tell from a slow model. docs/explanation/serving-limit.md has the measurement and its command.

Here a batch is made of what has queued up while the previous one was computed: the text that waits longest, and those
of about its length, so that little is padded. Under light load that is one text, under heavy load full batches. Every
batch is answered as soon as it is computed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import cast

from service.admission import Admission
from service.classifier import Answer, Queued
from service.engines.padding import groups

Entry = tuple[Queued, asyncio.Future[Answer]]


class TooLate(Exception):
    """The answer would come after ``max_latency_ms``; the request is shed instead of computed."""


class Batcher:
    """Collects texts for ``compute``, which runs in ``streams`` threads of its own, a batch in each.

    To be used from one event loop. A text is shed when its age and the duration of the latest batch together exceed
    ``max_latency_ms``; one whose waiter was cancelled is dropped without taking a place in a batch. ``admission``
    is notified of what comes and goes.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Queued]], list[Answer]],
        *,
        max_batch_size: int,
        max_latency_ms: int,
        streams: int = 1,
        admission: Admission | None = None,
    ) -> None:
        self._compute = compute
        self._max_batch_size = max_batch_size
        self._max_latency_ns = max_latency_ms * 1_000_000
        self._admission = admission or Admission(target_ms=0)
        self._waiting: dict[int, Entry] = {}
        self._count = 0
        self._threads = ThreadPoolExecutor(max_workers=streams, thread_name_prefix="batcher")
        self._streams = streams
        self._draining: set[asyncio.Task[None]] = set()
        self._latest_ns = 0

    async def submit(self, item: Queued) -> Answer:
        """The answer to one text. Texts with token ids (:attr:`Queued.ids`) are grouped by their number.

        Raises:
            TooLate: it was shed.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[self._count] = (item, future)
        self._count += 1
        self._admission.entered(len(item.ids))
        if len(self._draining) < self._streams:
            task = asyncio.create_task(self._drain())
            self._draining.add(task)
        return await future

    async def _drain(self) -> None:
        try:
            while batch := self._next_batch():
                await self._run(batch)
        finally:
            # At once, not when the task is seen to be done: whoever came in between would find nobody to serve it.
            self._draining.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _run(self, batch: Sequence[Entry]) -> None:
        started = time.monotonic_ns()
        running = self._admission.started(sum(len(item.ids) for item, _ in batch))
        items = [item for item, _ in batch]
        computing = asyncio.get_running_loop().run_in_executor(self._threads, self._compute, items)
        # Not awaited directly: a failure belongs to the requests of this batch, and the next one goes on.
        await asyncio.wait({computing})
        self._admission.finished(running)
        self._latest_ns = time.monotonic_ns() - started
        error = computing.exception()
        for index, (_, future) in enumerate(batch):
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(computing.result()[index])

    def _next_batch(self) -> list[Entry]:
        self._shed()
        # The oldest, and enough of those behind it to find it company in.
        window = list(islice(self._waiting.items(), 2 * self._max_batch_size))
        if not window:
            return []
        company = next(group for group in groups([len(entry[0].ids) for _, entry in window]) if 0 in group)
        # Longest waiting first, where there are more than fit.
        chosen = [window[index] for index in sorted(company)[: self._max_batch_size]]
        for key, _ in chosen:
            del self._waiting[key]
        return [entry for _, entry in chosen]

    def _shed(self) -> None:
        """Drop those that nobody waits for, and refuse those that are too late, from the oldest on."""
        now = time.monotonic_ns()
        for key, (item, future) in list(self._waiting.items()):
            if not future.done():
                if now - item.ticket.arrived_ns + self._latest_ns <= self._max_latency_ns:
                    continue
                future.set_exception(TooLate)
            del self._waiting[key]
            self._admission.left(len(item.ids))
