"""Quantiles of latencies among which failed requests rank as +inf, and how many samples a quantile needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["log_ratio", "quantile", "samples_needed", "smooth_quantile", "smooth_quantiles"]

#: A percentile is smoothed over at most this much probability on either side.
_WIDEST = 0.05
#: ... and p99, of which 400 requests hold four, over as much as this.
_NARROWEST = 0.009
_GRID = 40


def quantile(values: NDArray[np.float64], p: float) -> float:
    """Return the ``p`` quantile of ``values``, shape (n,), n >= 1, which may hold +inf but not NaN.

    Linear interpolation between order statistics (type 7 of Hyndman and Fan 1996), except that nothing is
    interpolated towards +inf: as soon as the upper neighbour counts, the quantile is +inf.
    """
    n = values.size
    if n == 0:
        raise ValueError("a quantile needs at least one value")
    position = (n - 1) * p
    # 0.95 * 100 is 94.99999999999999: an index that is whole but for rounding is meant to be whole.
    nearest = round(position)
    if abs(position - nearest) < 1e-9 * n:
        return float(np.partition(values, nearest)[nearest])
    low = math.floor(position)
    part = np.partition(values, (low, low + 1))
    a, b = float(part[low]), float(part[low + 1])
    if math.isinf(b):
        return b
    return a + (b - a) * (position - low)


def smooth_quantile(values: NDArray[np.float64], p: float) -> float:
    """Return the ``p`` quantile of one run, smoothed over a window around ``p``; +inf as `quantile`.

    One order statistic is a noisy thing: the quantile function, on the log scale, is averaged over p ± h with
    h = (1 - p) / 2, at most 0.05: p92.5 to p97.5 for p95 (p99: p98.1 to p99.9). That is about as wide as what 400
    requests leave open, and narrow enough that a change of the slowest fiftieth alone is none of p95. (Harrell and
    Davis 1982 smooth with a beta kernel, which reaches the maximum and so gives way to a single failure.) The
    window stays clear of failed requests and of zeros, down to nothing.
    """
    return _smooth((values,), p)[0]


def smooth_quantiles(first: NDArray[np.float64], second: NDArray[np.float64], p: float) -> tuple[float, float]:
    """Return `smooth_quantile` of two runs over the same window, as wide as the failures in both allow.

    For second = c * first the two results differ by exactly that factor.
    """
    one, other = _smooth((first, second), p)
    return one, other


def _smooth(runs: Sequence[NDArray[np.float64]], p: float) -> list[float]:
    plain = [quantile(run, p) for run in runs]
    if not all(0 < value < np.inf for value in plain):
        return plain
    width = min(max((1 - p) / 2, min(0.9 * (1 - p), _NARROWEST)), p / 2, _WIDEST)
    ordered = [np.sort(run) for run in runs]
    for run in ordered:
        finite, zeros = int(np.searchsorted(run, np.inf)), int(np.searchsorted(run, 0.0, side="right"))
        last = max(run.size - 1, 1)
        if finite < run.size:
            width = min(width, (finite - 1) / last - p)
        if zeros:
            width = min(width, p - zeros / last)
    grid = p + max(width, 0.0) * (2 * np.arange(_GRID) + 1 - _GRID) / _GRID
    return [float(np.exp(_log_quantiles(run, grid).mean())) for run in ordered]


def _log_quantiles(ordered: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    position = grid * (ordered.size - 1)
    low = np.minimum(np.floor(position).astype(np.intp), ordered.size - 1)
    high = np.minimum(low + 1, ordered.size - 1)
    weight = position - low
    # Rounding may put the last point a hair above the last finite value, where its weight is zero but for rounding.
    top = np.where(np.isfinite(ordered[high]), ordered[high], ordered[low])
    logs: NDArray[np.float64] = np.log(ordered[low] + (top - ordered[low]) * weight)
    return logs


def samples_needed(p: float, alpha: float) -> int:
    """Return the least n for which the largest of n independent values bounds the ``p`` quantile from above.

    The maximum lies below the quantile with probability p^n, so a one-sided bound at confidence 1 - alpha needs
    n >= ln(alpha) / ln(p): 59 for p95 and 299 for p99 at alpha 0.05. For p < 0.5 the minimum is what runs out.
    """
    return math.ceil(math.log(alpha) / math.log(max(p, 1 - p)) - 1e-9)


def log_ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(numerator / denominator) element by element for values in [0, inf].

    Equal finite values give 0 (0/0 too), inf/inf gives NaN (nothing can be said), x/0 and inf/x give +inf,
    0/x and x/inf give -inf.
    """
    out = np.full(numerator.shape, np.nan)
    same = (numerator == denominator) & np.isfinite(numerator)
    up = (numerator > denominator) & (np.isinf(numerator) | (denominator == 0))
    down = (numerator < denominator) & (np.isinf(denominator) | (numerator == 0))
    plain = np.isfinite(numerator) & np.isfinite(denominator) & ~(same | up | down)
    out[same], out[up], out[down] = 0.0, np.inf, -np.inf
    out[plain] = np.log(numerator[plain]) - np.log(denominator[plain])
    return out
