"""Pacing under a clock that only moves when nothing is left to do: every instant is exact, nothing sleeps."""

from __future__ import annotations

import asyncio
import math
import select
import selectors
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from pytest_inferbench.loadgen.pacing import closed_loop, exact_event_loop, open_loop
from pytest_inferbench.loadgen.recorder import Answer, Recorder
from pytest_inferbench.runs.run import Failure

MS = 1_000_000
S = 1_000 * MS


class VirtualSelector(selectors.SelectSelector):
    """Waiting moves the clock instead of passing time."""

    now_ns = 5 * S

    def select(self, timeout=None):
        assert timeout is not None, "deadlock: nothing is scheduled"
        self.now_ns += math.ceil(timeout * 1e9)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = VirtualSelector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now_ns / 1e9


class World:
    """A loop, its clock, and a service that takes ``service_ns(i)`` for request *i*."""

    def __init__(self, service_ns: Callable[[int], int]) -> None:
        self.loop = VirtualLoop()
        self.service_ns = service_ns
        self.in_flight = self.most_in_flight = 0

    def now(self) -> int:
        return self.loop.clock.now_ns

    async def send(self, i: int) -> Answer:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(self.service_ns(i) / 1e9)
        self.in_flight -= 1
        return Answer(self.now(), 200, Failure.NONE)

    def run(self, work: Awaitable[None]) -> None:
        try:
            self.loop.run_until_complete(work)
        finally:
            self.loop.close()

    def open(self, offsets_ms: list[float], drain_ns: int = 10 * S, send=None) -> tuple[Recorder, np.ndarray]:
        recorder = Recorder(len(offsets_ms))
        due = (np.array(offsets_ms) * MS).astype(np.int64) + self.now()
        self.run(open_loop(send or self.send, recorder, due, drain_ns=drain_ns, clock=self.now))
        return recorder, due


def test_each_request_leaves_when_it_is_due():
    """Issue instants are the schedule's, to a microsecond of float rounding, whatever the gaps."""
    recorder, due = World(lambda i: MS).open([0, 0.1, 0.1, 7, 7.3, 2000])
    assert np.all(recorder.issued_ns - due >= 0)
    assert np.all(recorder.issued_ns - due < 1000)
    assert np.all(recorder.completed_ns - due >= MS)


def test_a_slow_service_delays_no_request():
    """Open loop: with every answer 5 s away, all requests still leave on time and overlap."""
    world = World(lambda i: 5 * S)
    recorder, due = world.open([10.0 * i for i in range(50)])
    assert np.all(recorder.issued_ns - due < 1000)
    assert world.most_in_flight == 50


def test_a_burst_larger_than_a_batch_is_issued_whole():
    """A hundred requests due at once are all issued at that instant."""
    recorder, due = World(lambda i: MS).open([3.0] * 100)
    assert np.all(recorder.issued_ns - due < 1000)
    assert recorder.count_issued == recorder.count_completed == 100


def test_answers_are_read_while_a_backlog_is_issued():
    """A generator that is behind reads answers between batches, so that their stamps do not wait for the backlog."""
    world = World(lambda i: 0)
    world.open([3.0] * 200)
    assert world.most_in_flight < 100


def test_a_late_generator_says_so():
    """When the generator itself is held up for 1 s, due instants stay and the delay is in the facts."""
    world = World(lambda i: MS)

    async def hold_up(i: int) -> Answer:
        if i == 0:
            world.loop.clock.now_ns += S
        return await world.send(i)

    recorder, due = world.open([0, 400, 1500], send=hold_up)
    delays = recorder.issued_ns - due
    assert delays[0] < 1000
    assert 600 * MS <= delays[1] < 601 * MS
    assert delays[2] < 1000


def test_the_drain_ends_when_it_should():
    """What has no answer when the drain ends is unfinished; what came before is kept; nobody waits longer."""
    world = World(lambda i: [MS, 3 * S, 100 * S][i])
    start = world.now()
    recorder, _ = world.open([0, 1000, 1000], drain_ns=5 * S)
    assert recorder.failure.tolist() == [Failure.NONE, Failure.NONE, Failure.UNFINISHED]
    assert (recorder.completed_ns[2], recorder.status[2]) == (-1, 0)
    assert 6 * S <= world.now() - start < 6 * S + MS


def test_what_cannot_be_issued_before_the_drain_ends_is_unissued():
    """A generator held up beyond the end of the drain issues no more: the rest is UNISSUED, and counted."""
    world = World(lambda i: MS)

    async def hold_up(i: int) -> Answer:
        world.loop.clock.now_ns += 60 * S
        return await world.send(i)

    recorder, _ = world.open([0, 400, 1500], drain_ns=5 * S, send=hold_up)
    assert recorder.issued_ns.tolist()[1:] == [-1, -1]
    assert recorder.failure.tolist()[1:] == [Failure.UNISSUED, Failure.UNISSUED]


def test_a_defect_of_the_client_ends_the_run():
    """An exception that is no answer is raised, not turned into a failed request."""
    world = World(lambda i: MS)

    async def broken(i: int) -> Answer:
        if i == 3:
            raise ZeroDivisionError
        return await world.send(i)

    with pytest.raises(ZeroDivisionError):
        world.open([1.0 * i for i in range(10)], send=broken)


@pytest.mark.parametrize("users", [1, 3, 50])
def test_a_closed_loop_has_so_many_users(users):
    """Never more requests in flight than users, each request once, and in order."""
    world = World(lambda i: (i % 3 + 1) * MS)
    recorder = Recorder(20)
    world.run(closed_loop(world.send, recorder, users, clock=world.now))
    assert world.most_in_flight == min(users, 20)
    assert recorder.count_completed == 20
    assert np.all(np.diff(recorder.issued_ns) >= 0)
    assert not recorder.failure.any()


def test_an_empty_schedule_ends_at_once():
    """No requests, nothing to wait for."""
    world = World(lambda i: MS)
    start = world.now()
    recorder, _ = world.open([])
    assert len(recorder) == 0
    assert world.now() == start


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="only epoll rounds")
def test_timers_are_not_rounded_to_milliseconds(monkeypatch):
    """A wait of 0.3 ms reaches the kernel as at most 0.3 ms, not as epoll's whole millisecond."""
    asked: list[float] = []
    real = select.select

    def spy(read, write, error, timeout):
        asked.append(timeout)
        return real(read, write, error, timeout)

    monkeypatch.setattr(select, "select", spy)
    loop = exact_event_loop()
    try:
        loop.run_until_complete(asyncio.sleep(0.0003))
    finally:
        loop.close()
    assert asked
    assert all(timeout <= 0.0003 for timeout in asked)


def test_a_closed_loop_stops_issuing_at_its_limit():
    """No request leaves later than the limit after the start; the rest stays unissued, what was issued is finished."""
    world = World(lambda i: 10 * MS)
    recorder = Recorder(20)
    start = world.now()
    world.run(closed_loop(world.send, recorder, 2, limit_ns=25 * MS, clock=world.now))
    assert recorder.issued_ns[:6].tolist() == [start + at * MS for at in (0, 0, 10, 10, 20, 20)]
    assert recorder.failure.tolist() == [Failure.NONE] * 6 + [Failure.UNISSUED] * 14
