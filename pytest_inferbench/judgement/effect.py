"""What the pairs of runs say about one metric: estimate, interval, p-values, and the reasons in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.judgement.pairing import Pairing, Sample
from pytest_inferbench.stats.paired import PairedMean, median_interval, paired_mean
from pytest_inferbench.stats.quantiles import log_ratio, smooth_quantiles
from pytest_inferbench.stats.trend import saturation
from pytest_inferbench.stats.unqueued import unqueued_log_ratio

__all__ = ["METRICS", "PERCENTILES", "TOLERANCE", "Evidence", "figures", "weigh"]

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
METRICS = (*PERCENTILES, "mean", "error_rate", "throughput")

#: Logarithms that agree to this much are equal: 5 % slower is not more than 5 % slower because of rounding.
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the pairs say on a scale where more is worse and 0 is no difference (log ratios; differences of error
    rates). ``evident``: requests, not chance between boots, decide (every candidate run failed or saturated where
    no reference run did), so that no correction for chance applies."""

    centre: float
    low: float
    high: float
    p_worse: float
    p_better: float
    estimate: PairedMean | None = None
    notes: tuple[str, ...] = ()
    evident: bool = False


_NOTHING = Evidence(math.nan, -math.inf, math.inf, 1.0, 1.0)


def figures(pairing: Pairing, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the metric of every paired run, (reference, candidate), each of shape (pairs,); +inf if undefined."""
    pairs = [_pair_figures(r, c, metric) for r, c in pairing.pairs]
    both = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _pair_figures(reference: Sample, candidate: Sample, metric: str) -> tuple[float, float]:
    if metric in PERCENTILES:
        return smooth_quantiles(reference.latencies, candidate.latencies, PERCENTILES[metric])
    return _figure(reference, metric), _figure(candidate, metric)


def _figure(sample: Sample, metric: str) -> float:
    if metric == "mean":
        return float(sample.latencies.mean())
    if metric == "error_rate":
        return sample.error_rate
    return sample.run.throughput if sample.run is not None else math.nan


def weigh(
    pairing: Pairing,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    *,
    metric: str,
    margin: float,
    alpha: float,
) -> Evidence:
    """Return what the pairs say, from what `figures` returned for them; no pairs say nothing."""
    if before.size == 0:
        return _NOTHING
    if metric == "error_rate":
        return _weigh_errors(pairing, after - before, margin, alpha)
    limit = math.log1p(margin)
    logs = log_ratio(after, before) if metric != "throughput" else log_ratio(before, after)
    if not np.isfinite(logs).all():
        return _weigh_infinite(pairing, logs, metric, limit, margin, alpha)
    evidence = _from_mean(paired_mean(logs), limit, alpha)
    if metric == "throughput" or before.size < 2:
        return evidence
    evidence = _weigh_saturation(pairing, evidence, logs, metric, limit)
    if metric in ("p90", "p95", "p99"):
        evidence = _name_tail(pairing, evidence, metric, limit)
    return _advise_rate(pairing, evidence, metric, limit, alpha)


def _from_mean(estimate: PairedMean, limit: float, alpha: float) -> Evidence:
    low, high = estimate.interval(alpha)
    return Evidence(estimate.mean, low, high, estimate.p_above(limit), estimate.p_below(-limit), estimate)


def _weigh_errors(pairing: Pairing, differences: NDArray[np.float64], margin: float, alpha: float) -> Evidence:
    evidence = _from_mean(paired_mean(differences), margin, alpha)
    # Runs that agree to the last failure still leave rates of 1 - alpha^(1/n) possible: no t interval knows that.
    unseen = 1 - alpha ** (1 / sum(c.latencies.size for _, c in pairing.pairs))
    low, high = min(evidence.low, evidence.centre - unseen), max(evidence.high, evidence.centre + unseen)
    return replace(evidence, low=low, high=high)


def _weigh_infinite(
    pairing: Pairing, logs: NDArray[np.float64], metric: str, limit: float, margin: float, alpha: float
) -> Evidence:
    """Weigh a metric that failures leave undefined in some runs: by order statistics, else by the error rate."""
    worse, better = int(np.isposinf(logs).sum()), int(np.isneginf(logs).sum())
    both = int(np.isnan(logs).sum())
    places = ((worse, "in the candidate only"), (better, "in the reference only"), (both, "on both sides"))
    what = "nothing succeeded" if metric == "throughput" else f"so much failed that {metric} is undefined"
    notes = tuple(f"in {count} of {logs.size} pairs {what} {where}" for count, where in places if count)
    several = logs.size >= 2
    if several and worse == logs.size:
        return Evidence(math.inf, math.inf, math.inf, 0.5**worse, 1.0, notes=notes, evident=True)
    if several and better == logs.size:
        return Evidence(-math.inf, -math.inf, -math.inf, 1.0, 0.5**better, notes=notes, evident=True)
    known = logs[~np.isnan(logs)]
    if known.size < 2:
        rates = np.array([c.error_rate - r.error_rate for r, c in pairing.pairs])
        errors = _weigh_errors(pairing, rates, margin, alpha)
        notes += (f"error rate {errors.centre:+.1%} points: judge such a load by error_rate and throughput",)
        if several and errors.low > margin:
            return Evidence(math.nan, math.inf, math.inf, errors.p_worse, 1.0, notes=notes, evident=True)
        return replace(_NOTHING, notes=notes)
    centre, low, high = median_interval(known, alpha)
    p_worse = _sign_p(int((known > limit + TOLERANCE).sum()), known.size)
    p_better = _sign_p(int((known < -limit - TOLERANCE).sum()), known.size)
    return Evidence(centre, low, high, p_worse, p_better, notes=(*notes, "the interval is that of the median pair"))


def _sign_p(successes: int, n: int) -> float:
    return math.fsum(math.comb(n, k) for k in range(successes, n + 1)) / float(2**n)


def _weigh_saturation(
    pairing: Pairing, evidence: Evidence, logs: NDArray[np.float64], metric: str, limit: float
) -> Evidence:
    """Where latency rises to the end of the run its length speaks: then the least of the pairs bounds the ratio.

    Only if every candidate run saturates and no reference run does, so that no single unlucky schedule decides.
    """
    rising = [(saturation(r.latencies).rising, saturation(c.latencies).rising) for r, c in pairing.pairs]
    ours, theirs = sum(r for r, _ in rising), sum(c for _, c in rising)
    n = len(rising)
    if not ours and not theirs:
        return evidence
    where = f"latency rises to the end of {ours} of {n} reference and {theirs} of {n} candidate runs (saturation)"
    note = f"{where}: {metric} there describes the run's length; judge throughput and errors, or lower the rate"
    evidence = replace(evidence, notes=(*evidence.notes, note))
    least = float(logs.min())
    if ours == 0 and theirs == n and least > limit:
        return replace(evidence, low=max(evidence.low, least), p_worse=min(evidence.p_worse, 0.5**n), evident=True)
    return evidence


def _unqueued(pairing: Pairing) -> PairedMean | None:
    logs = np.array([unqueued_log_ratio(r.latencies, c.latencies) for r, c in pairing.pairs])
    return paired_mean(logs) if np.isfinite(logs).all() else None


def _name_tail(pairing: Pairing, evidence: Evidence, metric: str, limit: float) -> Evidence:
    """Say so where the tail regressed and the ordinary request did not."""
    body = _unqueued(pairing)
    if evidence.low <= limit or body is None or body.mean >= limit or evidence.centre - body.mean <= limit:
        return evidence
    note = (
        f"tail regression: {metric} x{math.exp(evidence.centre):.2f}, but requests that met no queue "
        f"x{math.exp(body.mean):.2f}: a few requests got slower, not all of them"
    )
    return replace(evidence, notes=(note, *evidence.notes))


def _advise_rate(pairing: Pairing, evidence: Evidence, metric: str, limit: float, alpha: float) -> Evidence:
    """Recommend a rate where a queue multiplies the noise between boots beyond what these pairs can decide.

    A queue at utilisation u multiplies a change of the service time by about 1 / (1 - u), so the ratio of the
    noise of the metric to that of the requests that met no queue tells u, and what u would be quiet enough.
    """
    estimate, body = evidence.estimate, _unqueued(pairing)
    straddles = evidence.low <= limit <= evidence.high
    if not straddles or estimate is None or body is None or body.sd == 0 or estimate.n < 3:
        return evidence
    factor = estimate.sd / body.sd
    half = (evidence.high - evidence.centre) / limit
    if factor < 1.5 or half <= 1 or factor / half <= 1:
        return evidence
    share = (1 - half / factor) / (1 - 1 / factor)
    note = (
        f"the queue multiplies the noise between boots by about {factor:.1f}; at about {share:.0%} of this rate "
        f"{estimate.n} pairs would tell"
    )
    return replace(evidence, notes=(*evidence.notes, note))
