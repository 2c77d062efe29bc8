"""Two runs of the same requests, request by request: what happened to those that met no queue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.stats.quantiles import log_ratio, quantile

__all__ = ["step_correlation", "unqueued_log_ratio"]


def unqueued_log_ratio(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return log(second / first) for the requests that met no queue; NaN if too much failed to tell.

    Runs of equal length hold the same request at the same place: it is the median of the log-ratios of the tenth
    of requests that were fastest on both sides together. They waited for nobody, so their ratio is that of the
    service times of an ordinary request: neither a rare slow request nor the queue behind it moves it. Runs of
    unequal length give the ratio of their fifth percentiles, the middle of that tenth.
    """
    if first.size == second.size:
        good = np.isfinite(first) & np.isfinite(second) & (first > 0) & (second > 0)
        if good.sum() < 4:
            return float("nan")
        logs = np.log(first[good]), np.log(second[good])
        fastest = np.argsort(logs[0] + logs[1], kind="stable")[: max(1, good.sum() // 10)]
        return float(np.median((logs[1] - logs[0])[fastest]))
    return float(log_ratio(np.array([quantile(second, 0.05)]), np.array([quantile(first, 0.05)]))[0])


def step_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return how the log latencies of two runs go up and down together from one request to the next, in [-1, 1].

    It is the correlation of first differences: levels would correlate by chance, because a queue remembers. Requests
    that failed in either run are left out. 0 for runs of unequal length, of fewer than three answers on both sides,
    and where a run does not vary.
    """
    if first.size != second.size:
        return 0.0
    good = np.isfinite(first) & np.isfinite(second) & (first > 0) & (second > 0)
    if good.sum() < 3:
        return 0.0
    steps = np.diff(np.log(first[good])), np.diff(np.log(second[good]))
    one, other = (step - step.mean() for step in steps)
    scale = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / scale if scale > 1e-12 * one.size else 0.0
