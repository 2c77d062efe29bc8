"""Who is let in: the forecast of the wait, and when a queue counts as standing. Under a clock of our own."""

from __future__ import annotations

import pytest

from service.admission import INTERVAL_NS, Admission

MS = 1_000_000


class _Clock:
    def __init__(self) -> None:
        self.now = 10**12

    def __call__(self) -> int:
        return self.now

    def pass_ms(self, milliseconds: float) -> None:
        self.now += round(milliseconds * MS)


def _taught(clock: _Clock, *, target_ms: int, ms_per_token: int = 1, streams: int = 1) -> Admission:
    """One that has seen a batch of 100 tokens take 100 times ``ms_per_token``, and is empty again."""
    admission = Admission(target_ms=target_ms, streams=streams, clock=clock)
    admission.entered(100)
    running = admission.started(100)
    clock.pass_ms(100 * ms_per_token)
    admission.finished(running)
    return admission


def test_the_wait_is_what_is_ahead_times_what_a_token_took() -> None:
    """Proves the forecast: the tokens waiting and what is left of the running batch, which cannot be overdue."""
    clock = _Clock()
    admission = _taught(clock, target_ms=50)
    assert admission.expected_wait_ns == 0
    admission.entered(60)
    admission.entered(20)
    assert admission.expected_wait_ns == 80 * MS
    admission.started(60)
    clock.pass_ms(15)
    assert admission.expected_wait_ns == 65 * MS
    clock.pass_ms(100)
    assert admission.expected_wait_ns == 20 * MS
    admission.left(20)
    assert admission.expected_wait_ns == 0


def test_two_streams_halve_the_wait() -> None:
    """Proves that the forecast shares what is ahead out to those who work on it."""
    clock = _Clock()
    admission = _taught(clock, target_ms=50, streams=2)
    admission.entered(80)
    assert admission.expected_wait_ns == 40 * MS
    admission.started(20)
    admission.started(20)
    clock.pass_ms(10)
    assert admission.expected_wait_ns == 30 * MS


def test_a_burst_is_let_in_and_a_standing_queue_is_not() -> None:
    """Proves that a long wait alone refuses nobody, one that lasts an interval does, as long as it is long."""
    clock = _Clock()
    admission = _taught(clock, target_ms=50)
    assert admission.retry_after_s() is None
    admission.entered(3000)
    assert admission.retry_after_s() is None
    clock.pass_ms(INTERVAL_NS / MS - 1)
    assert admission.retry_after_s() is None
    clock.pass_ms(1)
    assert admission.retry_after_s() == 3
    admission.left(2960)
    assert admission.retry_after_s() is None
    admission.entered(2960)
    assert admission.retry_after_s() == 3, "one short moment does not let a whole interval's requests in"


def test_a_short_queue_for_an_interval_ends_it() -> None:
    """Proves that after an interval without a long wait a new burst is let in again."""
    clock = _Clock()
    admission = _taught(clock, target_ms=50)
    admission.entered(3000)
    clock.pass_ms(INTERVAL_NS / MS)
    assert admission.retry_after_s() == 3
    admission.left(2960)
    assert admission.retry_after_s() is None
    clock.pass_ms(INTERVAL_NS / MS)
    assert admission.retry_after_s() is None
    admission.entered(2960)
    assert admission.retry_after_s() is None


def test_a_client_is_never_told_to_come_back_at_once() -> None:
    """Proves that Retry-After is at least a second, however little the wait is over the target."""
    clock = _Clock()
    admission = _taught(clock, target_ms=50)
    admission.entered(51)
    clock.pass_ms(INTERVAL_NS / MS)
    assert admission.retry_after_s() == 1


@pytest.mark.parametrize("tokens", [0, 10**9])
def test_without_a_target_everybody_is_let_in(tokens: int) -> None:
    """Proves that the plain service refuses nobody."""
    clock = _Clock()
    admission = _taught(clock, target_ms=0)
    admission.entered(tokens)
    clock.pass_ms(3_600_000)
    assert admission.retry_after_s() is None


def test_a_slower_engine_is_learnt() -> None:
    """Proves that the forecast follows the engine, little by little."""
    clock = _Clock()
    admission = _taught(clock, target_ms=50)
    for _ in range(100):
        admission.entered(10)
        running = admission.started(10)
        clock.pass_ms(30)
        admission.finished(running)
    admission.entered(10)
    assert admission.expected_wait_ns == pytest.approx(30 * MS, rel=0.01)
