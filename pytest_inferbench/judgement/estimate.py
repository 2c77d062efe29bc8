"""The figures of runs: what one run measured of a metric, and what several say together, with its interval.

Summary, comparison, SLO and every report take their figures from here, so that one thing has one figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.judgement.pairing import Sample
from pytest_inferbench.runs.run import Run
from pytest_inferbench.stats.clustered import effective_size, percentile_bounds, stretches
from pytest_inferbench.stats.paired import mean_of_values
from pytest_inferbench.stats.proportions import clopper_pearson
from pytest_inferbench.stats.quantiles import samples_needed, smooth_quantile
from pytest_inferbench.stats.trend import saturation

__all__ = ["METRICS", "PERCENTILES", "Estimate", "estimate", "run_figure", "typical"]

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
METRICS = (*PERCENTILES, "mean", "error_rate", "throughput")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric over runs: ``value`` is the figure of a typical run (see `typical`), ``interval`` two-sided 1 - 2 alpha.

    In seconds, per second, or as a fraction. ``n`` counts requests. ``doubts``: why the value is not claimed to lie
    below anything; the interval of a percentile is then open above.
    """

    value: float
    interval: tuple[float, float]
    n: int
    runs: int
    doubts: tuple[str, ...] = ()


def run_figure(sample: Sample, metric: str) -> float:
    """Return what one run measured of ``metric``; a percentile is a `smooth_quantile`, +inf where too much failed."""
    if metric in PERCENTILES:
        return smooth_quantile(sample.latencies, PERCENTILES[metric])
    if metric == "mean":
        return float(sample.latencies.mean())
    if metric == "error_rate":
        return sample.error_rate
    return sample.run.throughput if sample.run is not None else math.nan


def typical(figures: Sequence[float], metric: str) -> float:
    """Return the one figure of several runs: the geometric mean of theirs, of error rates the arithmetic mean.

    So the ratio of two such figures is the mean ratio of the runs. Where a figure is infinite or zero it is the upper
    median. NaN without figures.
    """
    values = np.array(figures, dtype=np.float64)
    if not values.size:
        return math.nan
    if metric == "error_rate":
        return float(values.mean())
    if np.isfinite(values).all() and (values > 0).all():
        return float(np.exp(np.log(values).mean()))
    return float(np.sort(values)[values.size // 2])


def estimate(samples: Sequence[Sample], metric: str, *, alpha: float) -> Estimate:
    """Return the estimate of a percentile, the error rate or the throughput over runs of one service, one or more.

    The interval of a percentile is that of *all* requests (`percentile_bounds`), widened to hold the figure of the
    typical run where bursts set the two apart. That of the error rate is Clopper and Pearson's for the number of
    independent requests that they count as, that of the throughput Student's t over the logarithms of the runs'. The
    interval of a single run is that of its five stretches, and does not know what differs between two boots.
    """
    value = typical([run_figure(sample, metric) for sample in samples], metric)
    doubts: tuple[str, ...] = ()
    if metric == "error_rate":
        low, high = _error_rate([np.isinf(sample.latencies) for sample in samples], alpha)
    elif metric == "throughput":
        low, high = _throughput([sample.run for sample in samples if sample.run is not None], alpha)
    else:
        bounds = percentile_bounds([sample.latencies for sample in samples], PERCENTILES[metric], alpha)
        doubts = _doubts(samples, metric, bounds.effective, alpha)
        low, high = bounds.low, math.inf if doubts else bounds.high
    n = sum(sample.latencies.size for sample in samples)
    return Estimate(value, (min(low, value), max(high, value)), n, len(samples), doubts)


def _doubts(samples: Sequence[Sample], metric: str, effective: float, alpha: float) -> tuple[str, ...]:
    """Return why the percentile cannot be claimed to lie below anything, however the figures look."""
    doubts: list[str] = []
    sizes = [sample.latencies.size for sample in samples]
    needed = samples_needed(PERCENTILES[metric], alpha)
    rising = sum(saturation(sample.latencies).rising for sample in samples)
    if 2 * rising > len(samples):
        which = "the run" if len(samples) == 1 else f"{rising} of {len(samples)} runs"
        doubts.append(f"latency still rises at the end of {which}: {metric} describes its length; lower the rate")
    if min(sizes) < needed:
        longer = needed / min(sizes)
        doubts.append(
            f"{metric} needs at least {needed} requests in each run, got {min(sizes)}: "
            f"runs {longer:.1f} times as long, or more"
        )
    elif effective < needed:
        doubts.append(
            f"slow requests come together: these {sum(sizes)} requests count as {effective:.0f} independent ones, and "
            f"{metric} needs {needed}: more repeats, or longer runs, to {needed / effective:.2g} times as many"
        )
    return tuple(doubts)


def _error_rate(failed: list[NDArray[np.bool_]], alpha: float) -> tuple[float, float]:
    n = sum(run.size for run in failed)
    effective = effective_size(stretches(failed), alpha)
    return clopper_pearson(sum(int(run.sum()) for run in failed) / n * effective, effective, alpha)


def _throughput(runs: list[Run], alpha: float) -> tuple[float, float]:
    rates = np.array([run.throughput for run in runs])
    if len(runs) == 1:
        good = np.sort(runs[0].completed_ns[~runs[0].failed])
        gaps = stretches([np.diff(good, prepend=runs[0].scheduled_ns[0]) / 1e9])
        rates = np.array([part.size / max(float(part.sum()), 1e-9) for part in gaps])
    if rates.size < 2 or not np.isfinite(rates).all():
        return 0.0, math.inf
    if (rates > 0).all():
        low, high = mean_of_values(np.log(rates)).interval(alpha)
        return math.exp(low), math.exp(min(high, 700.0))
    low, high = mean_of_values(rates).interval(alpha)
    return max(0.0, low), high
