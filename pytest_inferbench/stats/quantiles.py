"""Quantiles of latencies among which failed requests rank as +inf, and how many samples a quantile needs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["log_ratio", "quantile", "samples_needed"]


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
