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

    The interval holds those limits L of which neither "more than 1 - p of all requests take longer than L" nor "fewer
    do" is shown. Whether a request takes longer than L is a proportion; its bounds are those of Clopper and Pearson
    (1934) for as many independent requests as these ones count for (`effective_size`; Korn and Graubard 1998 have it
    so for surveys of clusters, Woodruff 1952 the inversion to a percentile). Nothing is interpolated and no quantile
    of a single run enters, so that short runs do not make the percentile look low.

    Boots of different speed make that blunt: every late request is one of the slowest boot. Where less is left to
    bound once each run is divided by its median, the upper end is that of these ratios, times the bound of the mean
    speed (Student's t of the log medians) and a spread of the boots that is wider than the observed one by
    (t / z)^2, as few boots tell little of it. Both ends by themselves err in far less than ``alpha`` of cases where
    the other is the smaller; `benchmarks/studies/slo_calibration.py` shows what the smaller of the two does.
    """
    parts = stretches(runs)
    low, high, effective = _by_share(parts, p, alpha)
    k = len(parts)
    medians = np.array([float(np.median(part)) for part in parts])
    if k > 1 and np.isfinite(medians).all() and (medians > 0).all():
        speeds = np.log(medians)
        ratios = [part / median for part, median in zip(parts, medians, strict=True)]
        _, bound, counted = _by_share(ratios, p, alpha)
        scale = _uncertainty(k, alpha)
        centre, off = float(speeds.mean()), speeds - speeds.mean()
        spread = _spread(np.sort(np.concatenate(ratios)), scale**2 * math.sqrt(k / (k - 1)) * off, p)
        half = -float(special.stdtrit(k - 1, alpha)) * float(speeds.std(ddof=1)) / math.sqrt(k)
        by_speed = bound * spread * math.exp(centre + half)
        if by_speed < high:
            high, effective = by_speed, max(counted, effective)
    return PercentileBounds(low, high, effective)


def _by_share(runs: Sequence[NDArray[np.float64]], p: float, alpha: float) -> tuple[float, float, float]:
    """Return both ends by the share of late requests among all, and as how many requests these count."""
    ordered = np.sort(np.concatenate(runs))
    n = ordered.size
    quantile = ordered[max(math.ceil(p * n - 1e-9), 1) - 1]
    beyond = [run > quantile if math.isfinite(quantile) else np.isinf(run) for run in runs]
    effective = effective_size(beyond, alpha)
    share = 1 - p

    def few(count: int) -> bool:
        """Return whether ``count`` requests beyond a limit show that fewer than 1 - p are."""
        found = count / n * effective
        return found < effective and bool(special.betainc(found + 1, effective - found, share) >= 1 - alpha)

    def many(count: int) -> bool:
        """Return whether ``count`` requests beyond a limit show that more than 1 - p are."""
        found = count / n * effective
        return bool(special.betainc(found, effective - found + 1, share) <= alpha) if count else False

    below = _first(n + 1, lambda count: not few(count))  # so many are no longer few
    above = _first(n + 1, many)
    high = math.inf if below == 0 else float(ordered[n - below])
    low = 0.0 if above > n else float(ordered[n - above])
    # Below the quickest request every run agrees: there all requests count as independent.
    if share**n <= alpha:
        low = max(low, float(ordered[0]))
    return low, high, effective


def _spread(ratios: NDArray[np.float64], off: NDArray[np.float64], p: float) -> float:
    """Return by which factor the ``p`` quantile of sorted ``ratios`` grows where boots are faster and slower by the
    logarithms ``off``; at least 1."""
    alone = ratios[max(math.ceil(p * ratios.size - 1e-9), 1) - 1]
    if not math.isfinite(alone) or alone <= 0:
        return 1.0
    low, high = 0.0, float(np.abs(off).max())
    for _ in range(50):
        middle = (low + high) / 2
        within = np.searchsorted(ratios, alone * np.exp(middle - off), side="right").mean() / ratios.size
        low, high = (low, middle) if within >= p else (middle, high)
    return math.exp(high)


def _uncertainty(k: int, alpha: float) -> float:
    """Return how much more a bound must allow for a spread that is known by ``k`` runs only: t / z, 1 for many."""
    return float(special.stdtrit(k - 1, alpha) / special.ndtri(alpha))


def effective_size(events: Sequence[NDArray[np.bool_]], alpha: float) -> float:
    """Return as how many independent requests the requests of these runs count, for the share of an event among them.

    ``events``: per run, whether it happened to each request, in arrival order. With N requests in K runs it is

        min(N, N / W^1.25, (z / t)^2 N / B^1.25),

    where W is the variance of the share by the autocorrelation within the runs (ten lags), B that by the differences
    between the runs, both over that of N independent requests, and t and z are the quantiles of Student's t with
    K - 1 degrees of freedom and of the normal distribution (Korn and Graubard 1998, who have B to the power of one
    and no W). B sees all there is to see with K - 1 degrees of freedom; W sees queues, with many. The share of late
    requests is skewed the more the more they cluster, which is what the power is for. 1.25 was chosen by simulated
    queues so that a limit at the true percentile is called met in at most 5.5 %;
    `benchmarks/studies/slo_calibration.py` draws others.
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
    known = n / max(between, 1e-9) ** _POWER / _uncertainty(k, alpha) ** 2
    return float(min(n / within**_POWER, known))


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
