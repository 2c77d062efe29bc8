"""How the load of one run is cut into turns, so that two systems can be loaded one after the other, many times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.workload.arrivals import Schedule
from pytest_inferbench.workload.seeds import stream

__all__ = ["TurnPlan", "plan_turns"]


@dataclass(frozen=True, slots=True, eq=False)
class TurnPlan:
    """The turns of one schedule. ``first``: the first request of each; ``starts_ns``: the offset at which it begins.

    Both int64, shape (turns,). ``reference_first``: for each turn, whether the reference is loaded first.
    """

    first: NDArray[np.int64]
    starts_ns: NDArray[np.int64]
    reference_first: tuple[bool, ...]

    def __len__(self) -> int:
        return int(self.first.size)


def plan_turns(schedule: Schedule, duration: float, *, seconds: float) -> TurnPlan:
    """Cut a schedule of ``duration`` seconds into turns of about ``seconds``, all of one length, at least one.

    A turn in which nothing is due is left out. The order is balanced and seeded with the schedule: of each two
    successive turns one begins with the reference, by chance which, so that neither a drift of the machine nor a
    disturbance with a period of its own meets one system more often than the other.
    """
    count = max(1, round(duration / seconds))
    edges = (np.arange(count) * (duration / count) * 1e9).astype(np.int64)
    first = np.searchsorted(schedule.offsets_ns, edges)
    occupied = np.diff(first, append=len(schedule)) > 0
    turns = int(occupied.sum())
    leads = stream(schedule.seed, "turns").random((turns + 1) // 2) < 0.5
    order = tuple(bool(lead) is (k == 0) for lead in leads for k in range(2))[:turns]
    return TurnPlan(first[occupied].astype(np.int64), edges[occupied], order)
