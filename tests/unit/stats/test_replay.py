"""A run replayed as a queue: what its latencies would be on a slower machine."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_inferbench.stats.replay import log_factor_that_gives, mm1_log_change, mm1_log_factor, replay


def test_work_takes_longer_and_waits_longer() -> None:
    """Three requests of 2 s, due at 0, 1 and 5: answered at 2, 4 and 7; with 3 s of work each at 3, 6 and 9."""
    queue = replay(np.array([0.0, 1.0, 5.0]), np.array([2.0, 3.0, 2.0]))
    assert queue.work.tolist() == [2, 2, 2]
    assert queue.slowed(1.5).tolist() == [3, 5, 4]  # the third waits from 5 to 6
    assert queue.slowed(1.0).tolist() == [2, 3, 2]
    assert queue.utilisation == pytest.approx(4 / 5)


def test_answers_may_overtake() -> None:
    """The second is answered at 2, the first at 4: two pieces of work of 2 s; twice as slow they end at 4 and 8."""
    queue = replay(np.array([0.0, 1.0]), np.array([4.0, 1.0]))
    assert queue.slowed(2.0).tolist() == [8, 3]


def test_failed_requests_stay_failed_and_take_no_work() -> None:
    """The failed one is nobody's wait."""
    queue = replay(np.array([0.0, 0.5, 1.0]), np.array([1.0, math.inf, 1.0]))
    assert queue.slowed(1.5).tolist() == [1.5, math.inf, 2.0]
    nothing = replay(np.array([0.0, 1.0]), np.full(2, math.inf))
    assert nothing.slowed(1.5).tolist() == [math.inf, math.inf]
    assert nothing.utilisation == 1


def test_the_machine_that_explains_a_change_is_found() -> None:
    """Of a busy queue whose mean grew as on a machine 1.3 (0.8) times as slow, the factor is 1.3 (0.8)."""
    rng = np.random.default_rng(3)
    arrivals = np.cumsum(rng.exponential(1, 200))
    work, ends = rng.exponential(0.7, 200), []
    for due, needs in zip(arrivals, work, strict=True):
        ends.append(max(due, ends[-1] if ends else 0.0) + needs)
    queue = replay(arrivals, np.array(ends) - arrivals)
    assert queue.work == pytest.approx(work)

    def change(factor: float) -> float:
        return math.log(queue.slowed(factor).mean() / queue.latencies.mean())

    for factor in (1.3, 0.8):
        assert abs(change(factor)) > 1.5 * abs(math.log(factor))
        assert log_factor_that_gives(change, change(factor)) == pytest.approx(math.log(factor), abs=2e-4)
    assert log_factor_that_gives(change, 0.0) == 0
    assert log_factor_that_gives(lambda f: 0.5 * math.log(f), 0.2) == 0.2  # less than the factor itself: no queue


def test_the_formula_of_a_queue() -> None:
    """At utilisation 1/2 work that takes 1.2 times as long makes latencies 1.2 x 0.5 / 0.4 = 1.5 times as long."""
    assert mm1_log_change(math.log(1.2), 0.5) == pytest.approx(math.log(1.5))
    assert mm1_log_factor(math.log(1.5), 0.5) == pytest.approx(math.log(1.2))
    assert mm1_log_change(math.log(2), 0.5) == math.inf
    assert mm1_log_factor(math.inf, 0.5) == pytest.approx(math.log(2))
    assert mm1_log_factor(0.3, 0.0) == pytest.approx(0.3)
    assert mm1_log_factor(math.inf, 0.0) == math.inf
