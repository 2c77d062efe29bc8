"""What two runs that were issued in the same turns say about the change of a metric."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.judgement.estimate import PERCENTILES, run_figure
from pytest_inferbench.judgement.pairing import Sample
from pytest_inferbench.runs.run import Run
from pytest_inferbench.stats.in_turns import group_turns, trimmed_mean, turn_weights
from pytest_inferbench.stats.quantiles import log_ratio, smooth_quantiles

__all__ = ["LEAST_REQUESTS", "change_in_turns", "in_turns", "pair_figures", "turn_changes"]

#: Requests that a turn, or several together, must hold for a change of theirs to mean something; of other metrics a
#: turn holds too little in any case.
LEAST_REQUESTS = {"mean": 8, "p50": 8, "p90": 8, "p95": 8, "p99": 100}
#: The share of the weight of turns that is cut at either end. What p99 is about are rare slow requests.
_TRIMMED = {"mean": 0.2, "p50": 0.2, "p90": 0.2, "p95": 0.2, "p99": 0.0}
#: A high percentile is about its slowest requests: of p95 the slowest 15 %.
_SLOWEST = {"p90": 0.3, "p95": 0.15}


def pair_figures(reference: Sample, candidate: Sample, metric: str) -> tuple[float, float]:
    """Return the metric of both runs; of a percentile both are smoothed over the same window."""
    if metric in PERCENTILES:
        return smooth_quantiles(reference.latencies, candidate.latencies, PERCENTILES[metric])
    return run_figure(reference, metric), run_figure(candidate, metric)


def in_turns(reference: Sample, candidate: Sample) -> bool:
    """Return whether both runs were issued in the same turns, at least two."""
    if reference.run is None or candidate.run is None:
        return False
    first, second = ([turn.first for turn in run.turns] for run in (reference.run, candidate.run))
    return len(first) > 1 and first == second and len(reference.run) == len(candidate.run)


def change_in_turns(reference: Sample, candidate: Sample, metric: str) -> float:
    """Return the log ratio of a metric of two runs that were issued in the same turns; NaN where turns do not say.

    The change in each pair of turns (see `turn_changes`), combined by a trimmed mean in which turns count less that met
    a disturbed machine (see `turn_weights`). Error rate and throughput are of whole runs.
    """
    if metric not in LEAST_REQUESTS:
        return math.nan
    changes, weights = turn_changes(reference, candidate, metric)
    return trimmed_mean(changes, weights, share=_TRIMMED[metric])


def turn_changes(reference: Sample, candidate: Sample, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the change of ``metric`` in each pair of turns, and its weight, both of shape (turns,).

    Both systems got the same requests, so each request has a change of its own, the logarithm of the ratio of its two
    latencies. That of p50 is the trimmed mean (20 %) over all requests of a turn; that of p90 and p95 the mean over the
    slowest 30 and 15 %, by the product of both latencies: a choice that favours neither side. The mean and p99 are
    figures of both sides. Successive turns are taken together until they hold `LEAST_REQUESTS`.
    """
    assert reference.run is not None
    assert candidate.run is not None
    slices = reference.run.turn_slices
    groups = group_turns([part.stop - part.start for part in slices], LEAST_REQUESTS[metric])
    changes, shares = [], []
    for group in groups:
        part = slice(slices[group[0]].start, slices[group[-1]].stop)
        changes.append(_change(reference.latencies[part], candidate.latencies[part], metric))
        shares.append([_others(run, group) for run in (reference.run, candidate.run)])
    return np.array(changes), turn_weights(*np.array(shares, dtype=np.float64).T)


def _change(before: NDArray[np.float64], after: NDArray[np.float64], metric: str) -> float:
    if metric not in ("p50", *_SLOWEST):
        first, second = pair_figures(Sample(before), Sample(after), metric)
        return float(log_ratio(np.array([second]), np.array([first]))[0])
    each = log_ratio(after, before)
    share = 0.2
    if metric in _SLOWEST:
        with np.errstate(divide="ignore", invalid="ignore"):
            slowest = np.argsort(np.log(before) + np.log(after), kind="stable")
        each, share = each[slowest[-max(1, round(_SLOWEST[metric] * each.size)) :]], 0.0
    each = each[~np.isnan(each)]  # failed on both sides: no change
    return trimmed_mean(each, np.ones(each.size), share=share) if each.size else 0.0


def _others(run: Run, group: tuple[int, ...]) -> float:
    """Return the mean share of others in these turns; NaN if it is not known."""
    known = [others for turn in group if (others := run.turns[turn].others) is not None]
    return sum(known) / len(known) if known else math.nan
