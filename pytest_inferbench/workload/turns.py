"""How the load of one run is cut into turns, so that two systems can be loaded one after the other, many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.workload.arrivals import Schedule
from pytest_inferbench.workload.seeds import stream

__all__ = ["TurnPlan", "plan_turns"]


@dataclass(frozen=True, slots=True, eq=False)
class TurnPlan:
    """The turns of one schedule. ``first``: the first request of each; ``starts_ns``: the offset at which it begins.

    Both int64, shape (turns,). ``seed``: of the schedule.
    """

    first: NDArray[np.int64]
    starts_ns: NDArray[np.int64]
    seed: int

    def __len__(self) -> int:
        return int(self.first.size)

    def orders(self, names: Sequence[str]) -> list[list[str]]:
        """Return for each turn the order in which the systems of these ``names`` are loaded.

        It is seeded and balanced: by chance in one turn, the other way round in the next, so that neither a drift of
        the machine nor a disturbance with a period of its own meets one system more often than another.
        """
        rng = stream(self.seed, "turns")
        orders: list[list[str]] = []
        while len(orders) < len(self):
            order = [names[k] for k in rng.permutation(len(names))]
            orders += [order, order[::-1]]
        return orders[: len(self)]


def plan_turns(schedule: Schedule, duration: float, *, seconds: float) -> TurnPlan:
    """Cut a schedule of ``duration`` seconds into turns of about ``seconds``, all of one length, at least one.

    A turn in which nothing is due is left out.
    """
    count = max(1, round(duration / seconds))
    edges = (np.arange(count) * (duration / count) * 1e9).astype(np.int64)
    first = np.searchsorted(schedule.offsets_ns, edges)
    occupied = np.diff(first, append=len(schedule)) > 0
    return TurnPlan(first[occupied].astype(np.int64), edges[occupied], schedule.seed)
