"""Does the latency still rise at the end of a run, that is, does the queue never empty again?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pytest_inferbench.stats.quantiles import quantile

__all__ = ["Backlog", "backlog"]


@dataclass(frozen=True, slots=True)
class Backlog:
    """``tau``: Kendall's rank correlation of time and the fast latencies of each stretch, in [-1, 1].
    ``growth``: the fast latencies of the last stretches over those of the quietest one. ``rising``: the verdict."""

    tau: float
    growth: float
    rising: bool


def backlog(
    latencies: NDArray[np.float64], *, stretches: int = 10, least_tau: float = 0.6, least_growth: float = 3.0
) -> Backlog:
    """Judge latencies in arrival order, shape (n,); +inf marks failed requests, which are ignored here.

    The run is cut into ``stretches`` of equal length and each is described by its lower decile. After a burst a
    stable queue empties and some request finds it idle, so that the lower decile falls back to the bare service
    time; where more arrives than is served it climbs from stretch to stretch. It counts as rising if it climbs
    nearly monotonically (Kendall's tau) *and* the last two stretches both lie ``least_growth`` times above the
    lowest: a slow drift of some per cent is not saturation, nor is one late burst.
    """
    finite = latencies[np.isfinite(latencies)]
    if finite.size < 5 * stretches:
        return Backlog(0.0, 1.0, False)
    lows = np.array([quantile(part, 0.1) for part in np.array_split(finite, stretches)])
    lowest = float(lows.min())
    late = float(lows[-2:].min())
    if lowest <= 0 or late <= lowest or np.ptp(lows) == 0:
        return Backlog(0.0, 1.0, False)
    tau = float(stats.kendalltau(np.arange(stretches), lows).statistic)
    return Backlog(tau, late / lowest, tau >= least_tau and late / lowest >= least_growth)
