"""Uncertainty of one run on its own, with its dependence kept: the stationary block bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["block_length", "bootstrap_interval", "stationary_indices"]


def block_length(values: NDArray[np.float64]) -> float:
    """Return the mean block length for the stationary bootstrap of ``values``, shape (n,), finite.

    The automatic choice of Politis and White (2004) as corrected by Patton, Politis and White (2009): the lag m
    beyond which the autocorrelation stays within 2 sqrt(log10(n) / n) for a few lags, then
    b = (2 G^2 / D)^(1/3) n^(1/3) with a flat-top window of width 2 m. Between 1 and 3 sqrt(n).
    """
    n = values.size
    centred = values - values.mean()
    variance = float(centred @ centred) / n
    if n < 8 or variance <= 1e-300:
        return 1.0
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    most = min(math.ceil(math.sqrt(n)) + run, n - 1)
    autocovariance = np.array([float(centred[: n - k] @ centred[k:]) / n for k in range(most + 1)])
    small = np.abs(autocovariance[1:] / variance) < 2 * math.sqrt(math.log10(n) / n)
    quiet = [k for k in range(1, most - run + 2) if small[k - 1 : k - 1 + run].all()]
    width = 2 * (quiet[0] - 1 if quiet else most)
    lags = np.arange(1, min(max(width, 2), most) + 1)
    taper = np.clip(2 * (1 - lags / max(width, 2)), 0, 1)
    spectrum = autocovariance[0] + 2 * float(taper @ autocovariance[lags])
    curvature = 2 * float((taper * lags) @ autocovariance[lags])
    if spectrum <= 0:
        return 3 * math.sqrt(n)
    length: float = (2 * curvature**2 / (2 * spectrum**2)) ** (1 / 3) * n ** (1 / 3)
    return min(max(length, 1.0), 3 * math.sqrt(n))


def stationary_indices(n: int, length: float, resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return indices, shape (resamples, n), of the stationary bootstrap (Politis and Romano 1994).

    Blocks start anywhere, wrap around the end and have geometric lengths of mean ``length``.
    """
    fresh = rng.random((resamples, n)) < 1 / max(length, 1.0)
    fresh[:, 0] = True
    starts = rng.integers(0, n, size=(resamples, n))
    at = np.arange(n)
    begun = np.maximum.accumulate(np.where(fresh, at, 0), axis=1)
    indices: NDArray[np.int64] = (np.take_along_axis(starts, begun, axis=1) + at - begun) % n
    return indices


def bootstrap_interval(
    values: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], float],
    *,
    dependence: NDArray[np.float64],
    alpha: float,
    rng: np.random.Generator,
    resamples: int = 1000,
) -> tuple[float, float]:
    """Return the two-sided 1 - 2 alpha percentile interval of ``statistic`` over one run's ``values``.

    ``dependence``: a finite series of the same length, whose autocorrelation sets the block length (``values``
    themselves may hold +inf). The statistic may return +inf.
    """
    indices = stationary_indices(values.size, block_length(dependence), resamples, rng)
    replicates = np.sort([statistic(values[row]) for row in indices])
    low, high = math.floor(alpha * (resamples - 1)), math.ceil((1 - alpha) * (resamples - 1))
    return float(replicates[low]), float(replicates[high])
