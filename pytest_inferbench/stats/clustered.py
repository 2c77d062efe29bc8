"""Percentiles of latencies that come in runs: how far the requests of a few runs bound them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["PercentileBounds", "effective_size", "percentile_bounds", "stretches"]

T = TypeVar("T", bound=np.generic)

#: So many successive requests are looked at for the dependence within a run ...
_LAGS = 10
#: ... and into so many stretches a run is cut that is the only one.
_STRETCHES = 5
#: Chosen by simulation, see `effective_size`.
_POWER = 1.25
_RELIEF = 1.1


@dataclass(frozen=True, slots=True)
class PercentileBounds:
    """The two-sided 1 - 2 alpha interval of a percentile, in the unit of the latencies.

    ``high`` is +inf where the requests bound it from nowhere above; ``effective``: as how many independent requests
    these ones count.
    """

    low: float
    high: float
    effective: float


def percentile_bounds(runs: Sequence[NDArray[np.float64]], p: float, alpha: float) -> PercentileBounds:
    """Bound the latency that a share ``p`` of all requests does not exceed. ``runs``: latencies in seconds in arrival
    order, each of shape (n_k,), n_k >= 1, +inf where the request failed; a single run is cut into five stretches.

    The interval holds exactly those limits L of which neither "more than 1 - p of all requests take longer than L"
    nor "fewer do" is shown. Whether a request takes longer than L is a proportion; its bounds are those of Clopper
    and Pearson (1934) for as many independent requests as these ones count for (`effective_size`; Korn and Graubard
    1998 have it so for surveys of clusters, Woodruff 1952 the inversion to a percentile). Nothing is interpolated
    and no quantile of a single run enters, so that short runs do not make the percentile look low.
    """
    ordered = np.sort(np.concatenate(runs))
    n = ordered.size
    quantile = ordered[max(math.ceil(p * n - 1e-9), 1) - 1]
    beyond = [run > quantile if math.isfinite(quantile) else np.isinf(run) for run in stretches(runs)]
    effective = effective_size(beyond, alpha)
    share = 1 - p

    def few(count: int) -> bool:
        """Return whether ``count`` requests beyond a limit show that fewer than 1 - p are."""
        found = count / n * effective
        return found < effective and bool(special.betainc(found + 1, effective - found, share) >= 1 - alpha)

    def many(count: int) -> bool:
        found = count / n * effective
        return bool(special.betainc(found, effective - found + 1, share) <= alpha) if count else False

    below = _first(n + 1, lambda count: not few(count))  # so many are no longer few
    above = _first(n + 1, many)
    high = math.inf if below == 0 else float(ordered[n - below])
    low = 0.0 if above > n else float(ordered[n - above])
    return PercentileBounds(low, high, effective)


def effective_size(events: Sequence[NDArray[np.bool_]], alpha: float) -> float:
    """Return as how many independent requests the requests of these runs count, for the share of an event among them.

    ``events``: per run, whether it happened to each request, in arrival order. With N requests in K runs it is

        min(N, N / W^1.25, 1.1 (z / t)^2 N / B^1.25),

    where W is the variance of the share by the autocorrelation within the runs (ten lags), B that by the differences
    between the runs, both over that of N independent requests, and t and z are the quantiles of Student's t with
    K - 1 degrees of freedom and of the normal distribution (Korn and Graubard 1998, who have B to the power of one
    and no W). B sees all there is to see with K - 1 degrees of freedom; W sees queues, with many. The share of late
    requests is skewed the more the more they cluster, which is what the power is for. 1.25 and 1.1 were chosen by
    simulated queues so that a limit at the true percentile is called met in at most 5.5 %;
    `benchmarks/studies/slo_calibration.py` has others.
    """
    sizes = np.array([run.size for run in events], dtype=np.float64)
    n, k = float(sizes.sum()), len(events)
    share = sum(int(run.sum()) for run in events) / n
    if k < 2 or not 0 < share < 1:
        return n
    variance = share * (1 - share)
    residuals = [run - share for run in events]
    covariance = sum(
        float(one[:-lag] @ one[lag:]) for one in residuals for lag in range(1, min(_LAGS, one.size - 1) + 1)
    )
    within = max(1 + 2 * covariance / (n * variance), 1.0)
    between = sum(float(one.sum()) ** 2 for one in residuals) * k / (k - 1) / (n * variance)
    ratio = float(special.ndtri(alpha) / special.stdtrit(k - 1, alpha))
    return float(min(n / within**_POWER, _RELIEF * ratio**2 * n / max(between, 1e-9) ** _POWER))


def stretches(runs: Sequence[NDArray[T]]) -> list[NDArray[T]]:
    """Return the runs; of a single one five stretches of equal length, which stand in for runs.

    They show how the queue varies over time. What differs between two boots no single run can show.
    """
    if len(runs) > 1:
        return list(runs)
    return [part for part in np.array_split(runs[0], _STRETCHES) if part.size]


def _first(end: int, holds: Callable[[int], bool]) -> int:
    """Return the least of 0 .. ``end`` - 1 for which ``holds``, which then holds for all above; ``end`` if none."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
