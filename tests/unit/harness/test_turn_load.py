"""Several running services, loaded one after the other."""

from __future__ import annotations

import numpy as np

from pytest_inferbench.harness.turn_load import _on_its_own_clock
from pytest_inferbench.runs.run import Run
from pytest_inferbench.workload.arrivals import Schedule
from pytest_inferbench.workload.turns import plan_turns

SECOND = 10**9


def test_the_clock_of_a_run_stands_still_between_its_turns() -> None:
    """Gaps while the other system was loaded vanish; a turn that drained late delays the next; latencies stay."""
    schedule = Schedule(np.array([0, SECOND // 2, SECOND, 5 * SECOND // 2]))
    plan = plan_turns(schedule, 3.0, seconds=1.0)
    starts = np.array([100, 100, 103, 107]) * SECOND
    scheduled = starts + np.array([0, SECOND // 2, 0, SECOND // 2])
    took = np.array([1, 8, 12, 1]) * SECOND // 10  # the first turn drains 0.3 s late, the second 0.2 s
    run = Run(
        scheduled_ns=scheduled,
        issued_ns=np.where(np.arange(4) == 3, -1, scheduled),
        completed_ns=np.where(np.arange(4) == 3, -1, scheduled + took),
        status=np.array([200, 200, 200, 0]),
    )
    moved = _on_its_own_clock(run, schedule, plan, [0.1, 0.2, None])
    assert ((moved.scheduled_ns - 100 * SECOND) / SECOND).tolist() == [0, 0.5, 1.3, 3.0]
    assert moved.latency_ns.tolist() == [*took[:3].tolist(), -1]
    assert moved.issued_ns[3] == -1
    assert [(turn.first, turn.began_ns // SECOND, turn.others) for turn in moved.turns] == [
        (0, 100, 0.1),
        (2, 103, 0.2),
        (3, 107, None),
    ]
    assert [turn.seconds for turn in moved.turns] == [1.3, 1.2, 0.5]
