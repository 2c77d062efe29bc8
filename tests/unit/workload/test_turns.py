"""The load of one run, cut into turns."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_inferbench.workload.arrivals import Poisson, Schedule
from pytest_inferbench.workload.turns import plan_turns


def test_turns_hold_every_request_once_and_in_order() -> None:
    """Each request belongs to the turn that its offset lies in, and turns are of one length."""
    schedule = Poisson(20).schedule(9.0, 3)
    plan = plan_turns(schedule, 9.0, seconds=1.5)
    assert plan.starts_ns.tolist() == [k * 1_500_000_000 for k in range(6)]
    edges = [*plan.first.tolist(), len(schedule)]
    for begin, first, last in zip(plan.starts_ns, edges, edges[1:], strict=False):
        inside = schedule.offsets_ns[first:last]
        assert inside.size
        assert (inside >= begin).all()
        assert (inside < begin + 1_500_000_000).all()


def test_a_turn_in_which_nothing_is_due_is_left_out() -> None:
    """No system waits for an empty turn of another."""
    plan = plan_turns(Schedule(np.array([0, 10**8, 5 * 10**9])), 6.0, seconds=1.0)
    assert plan.first.tolist() == [0, 2]
    assert plan.starts_ns.tolist() == [0, 5 * 10**9]


def test_a_short_run_is_one_turn() -> None:
    """A run that is shorter than a turn is not cut."""
    assert len(plan_turns(Poisson(50).schedule(0.5, 0), 0.5, seconds=1.5)) == 1


@pytest.mark.parametrize("names", [("reference", "candidate"), ("a", "b", "c")])
def test_the_order_is_balanced_within_two_turns_and_seeded(names: tuple[str, ...]) -> None:
    """Of two successive turns the second goes the other way round; another seed begins another way somewhere."""
    plans = [plan_turns(Poisson(20).schedule(30.0, seed), 30.0, seconds=1.5) for seed in (1, 2)]
    orders = [plan.orders(names) for plan in plans]
    assert len(orders[0]) == 20
    assert orders[0] == plans[0].orders(names)
    assert orders[0] != orders[1]
    for one, other in zip(orders[0][::2], orders[0][1::2], strict=True):
        assert one == other[::-1]
        assert sorted(one) == sorted(names)
