"""Sending on time: an event loop whose timers are exact, and the two ways of driving a client with it."""

from __future__ import annotations

import asyncio
import select
import selectors
import time
from collections.abc import Awaitable, Callable

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.loadgen.recorder import Answer, Recorder

__all__ = ["closed_loop", "exact_event_loop", "open_loop"]

#: What performs request *i* and says what came of it. It raises only on a defect of its own.
Send = Callable[[int], Awaitable[Answer]]

#: While behind schedule, answers are read after at most so many issues: a burst must not delay their stamps for long.
_BATCH = 16


class _ExactSelector(selectors.DefaultSelector):
    """The platform's selector, without its rounding.

    epoll_wait takes whole milliseconds and asyncio rounds up to them, so that every timer is up to 1 ms late.
    select(2) takes microseconds, and an epoll descriptor can itself be waited for: wait for that one, then
    collect. kqueue is exact already. No busy core, no second thread, one cheap system call more per wake-up.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0 and hasattr(select, "epoll"):
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def exact_event_loop() -> asyncio.SelectorEventLoop:
    """Return an event loop whose timers are as exact as the kernel's (about 0.05 ms), not rounded up to 1 ms.

    Make it before many descriptors are open: select(2) can wait only for descriptors below 1024, and the one that
    it waits for is the loop's own.
    """
    return asyncio.SelectorEventLoop(_ExactSelector())


async def open_loop(
    send: Send,
    recorder: Recorder,
    scheduled_ns: NDArray[np.int64],
    *,
    drain_ns: int,
    first: int = 0,
    clock: Callable[[], int] = time.monotonic_ns,
) -> None:
    """Issue request *i* at ``scheduled_ns[i]`` (absolute, of ``clock``) whether or not earlier ones came back.

    Begins with request ``first`` and ends with the last one of ``scheduled_ns``. Returns when every request has come to
    an end, or ``drain_ns`` after the last was due: what is then unfinished is cancelled and stays so in ``recorder``.
    The running loop's ``time()`` must tick like ``clock``.
    """
    loop = asyncio.get_running_loop()
    finished: asyncio.Future[None] = loop.create_future()
    pending: set[asyncio.Task[None]] = set()
    due = scheduled_ns.data  # plain ints, without a list of a million of them
    n = len(due)
    if n <= first:
        return
    deadline_ns = due[n - 1] + drain_ns
    following = first

    async def one(i: int) -> None:
        recorder.issue(i, clock())
        recorder.finish(i, await send(i))

    def ended(task: asyncio.Task[None]) -> None:
        pending.discard(task)
        if finished.done():
            return
        error = None if task.cancelled() else task.exception()
        if error is not None:
            finished.set_exception(error)
        elif following == n and not pending:
            finished.set_result(None)

    def issue_due() -> None:
        nonlocal following
        if finished.done():
            return
        now = clock()
        if now >= deadline_ns:  # so far behind that the run is over: the rest stays unissued, and is counted
            finished.set_result(None)
            return
        last = min(n, following + _BATCH)
        while following < last and due[following] <= now:
            task = loop.create_task(one(following))
            pending.add(task)
            task.add_done_callback(ended)
            following += 1
        if following < n:
            wait = (due[following] - clock()) / 1e9
            if wait > 0:
                loop.call_later(wait, issue_due)
            else:
                loop.call_soon(issue_due)

    def give_up() -> None:
        if not finished.done():
            finished.set_result(None)

    loop.call_later(max(0, deadline_ns - clock()) / 1e9, give_up)
    issue_due()
    try:
        await finished
    finally:
        if not finished.done():
            finished.cancel()
        await _cancel(pending)


async def closed_loop(
    send: Send,
    recorder: Recorder,
    concurrency: int,
    *,
    limit_ns: int | None = None,
    clock: Callable[[], int] = time.monotonic_ns,
) -> None:
    """Issue each request when one of ``concurrency`` users is free: the next one waits for the answer to the last.

    None is issued later than ``limit_ns`` after the start: the rest stays unissued.
    """
    following = iter(range(len(recorder)))
    last_ns = None if limit_ns is None else clock() + limit_ns

    async def user() -> None:
        for i in following:
            if last_ns is not None and clock() > last_ns:
                return
            recorder.issue(i, clock())
            recorder.finish(i, await send(i))

    async with asyncio.TaskGroup() as users:
        for _ in range(min(concurrency, len(recorder))):
            users.create_task(user())


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    leftovers = list(tasks)
    for task in leftovers:
        task.cancel()
    await asyncio.gather(*leftovers, return_exceptions=True)
