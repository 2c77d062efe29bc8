"""What the pairs of runs say about one metric: estimate, interval, p-values, and the reasons in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pytest_inferbench.judgement.estimate import run_figure
from pytest_inferbench.judgement.pairing import Pairing, Sample
from pytest_inferbench.judgement.turn_changes import LEAST_REQUESTS, change_in_turns, in_turns, pair_figures
from pytest_inferbench.stats.paired import MeanEstimate, mean_of_changes, mean_of_values, median_interval
from pytest_inferbench.stats.quantiles import log_ratio
from pytest_inferbench.stats.trend import saturation
from pytest_inferbench.stats.unqueued import step_correlation, unqueued_log_ratio

__all__ = ["TOLERANCE", "Effect", "estimate_effect", "figures", "share_requests"]

#: Logarithms that agree to this much are equal: 5 % slower is not more than 5 % slower because of rounding.
TOLERANCE = 1e-9

#: From this correlation on, request by request, two runs are taken for runs of the same requests ...
_SHARED = 0.3
#: ... if it is also this many standard errors from none.
_CERTAIN = 5.0


@dataclass(frozen=True, slots=True)
class Effect:
    """What the pairs say on a scale where more is worse and 0 is no difference (log ratios; differences of error
    rates). ``p_worse``, ``p_better``: of "worse", "better than the margin". ``more_pairs``: how many more pairs would
    put a failure of every candidate run beyond chance; None where that is not the question."""

    centre: float
    low: float
    high: float
    p_worse: float
    p_better: float
    estimate: MeanEstimate | None = None
    notes: tuple[str, ...] = ()
    more_pairs: int | None = None


_NOTHING = Effect(math.nan, -math.inf, math.inf, 1.0, 1.0)


def figures(pairing: Pairing, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the metric of every pair, (reference, candidate), each of shape (pairs,); +inf if undefined.

    Where the candidate has several runs for a pair, their mean counts: the geometric one, but for the error rate.
    Where a pair was measured in turns, the candidate's figure is that of the reference times `change_in_turns`.
    """
    pairs = [_pair_figures(r, c, metric) for r, c in pairing.pairs]
    both = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    before, after = both[:, 0], both[:, 1]
    for k, more in enumerate(pairing.again):
        if more:
            reference = pairing.pairs[k][0]
            found = np.array([after[k], *(_pair_figures(reference, sample, metric)[1] for sample in more)])
            positive = metric != "error_rate" and bool((found > 0).all())
            after[k] = np.exp(np.log(found).mean()) if positive else found.mean()
    return before, after


def _pair_figures(reference: Sample, candidate: Sample, metric: str) -> tuple[float, float]:
    if in_turns(reference, candidate):
        change, before = change_in_turns(reference, candidate, metric), run_figure(reference, metric)
        if math.isfinite(change) and 0 < before < math.inf:
            return before, before * math.exp(change)
    return pair_figures(reference, candidate, metric)


def share_requests(pairing: Pairing) -> bool:
    """Return whether the requests themselves show that the runs of a pair were issued the same ones.

    A schedule and payloads that both runs had move the latencies of both from one request to the next: these steps
    correlate. It says nothing about which side is faster, and does not depend on it. Runs of unequal length share
    nothing here.
    """
    found = [step_correlation(r.latencies, c.latencies) for r, c in pairing.pairs]
    steps = sum(min(r.latencies.size, c.latencies.size) - 1 for r, c in pairing.pairs)
    if steps < 1:
        return False
    return sum(found) / len(found) >= max(_SHARED, _CERTAIN / math.sqrt(steps))


def estimate_effect(
    pairing: Pairing,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    *,
    metric: str,
    margin: float,
    alpha: float,
) -> Effect:
    """Return what the pairs say, from what `figures` returned for them; no pairs say nothing."""
    if before.size == 0:
        return _NOTHING
    if metric == "error_rate":
        return _effect_on_errors(pairing, margin, alpha)
    limit = math.log1p(margin)
    logs = log_ratio(after, before) if metric != "throughput" else log_ratio(before, after)
    if not np.isfinite(logs).all():
        return _effect_of_failures(pairing, logs, metric, limit, margin, alpha)
    # Answers per second follow the schedule that both runs of a pair were given, whatever single requests show.
    shared = True if metric == "throughput" else share_requests(pairing) or None
    first, second = (before, after) if metric != "throughput" else (after, before)
    if metric in LEAST_REQUESTS and all(in_turns(r, c) for r, c in pairing.pairs):
        estimate = mean_of_values(logs)  # turns share the machine, whatever the requests show
    elif (before > 0).all() and (after > 0).all():
        estimate = mean_of_changes(np.log(first), np.log(second), shared=shared)
    else:  # 0 on both sides of a pair is no change, and has no logarithm of its own
        estimate = mean_of_values(logs)
    effect = _from_mean(estimate, limit, alpha)
    if metric == "throughput" or before.size < 2:
        return effect
    if estimate.df > estimate.n - 1 + TOLERANCE:
        effect = replace(effect, notes=("the runs of a pair do not go together: two independent samples (Welch)",))
    effect = _effect_of_saturation(pairing, effect, logs, metric, limit, alpha)
    if metric in ("p90", "p95", "p99"):
        effect = _name_tail(pairing, effect, metric, limit)
    return _advise_rate(pairing, effect, metric, limit, alpha)


def _from_mean(estimate: MeanEstimate, limit: float, alpha: float) -> Effect:
    low, high = estimate.interval(alpha)
    return Effect(estimate.mean, low, high, estimate.p_above(limit), estimate.p_below(-limit), estimate)


def _effect_on_errors(pairing: Pairing, margin: float, alpha: float) -> Effect:
    before, after = figures(pairing, "error_rate")
    estimate = mean_of_changes(before, after, shared=share_requests(pairing) or None)
    # Runs of so few requests agree by chance: their rates vary at least as those of independent requests do.
    counts = np.array([[sample.latencies.size for sample in pair] for pair in pairing.pairs], dtype=np.float64).T
    rates = [float(np.average(rate, weights=n)) for rate, n in zip((before, after), counts, strict=True)]
    least = sum(rate * (1 - rate) / float(n.sum()) for rate, n in zip(rates, counts, strict=True))
    effect = _from_mean(replace(estimate, se=max(estimate.se, math.sqrt(least))), margin, alpha)
    # Runs without any failure still leave rates of 1 - alpha^(1/n) possible: no t interval knows that.
    unseen = 1 - alpha ** (1 / float(counts[1].sum()))
    low, high = min(effect.low, effect.centre - unseen), max(effect.high, effect.centre + unseen)
    return replace(effect, low=low, high=high)


def _effect_of_failures(
    pairing: Pairing, logs: NDArray[np.float64], metric: str, limit: float, margin: float, alpha: float
) -> Effect:
    """Judge a metric that failures leave undefined in some runs: by whose runs failed, by order statistics, or by the
    error rate."""
    worse, better = int(np.isposinf(logs).sum()), int(np.isneginf(logs).sum())
    both = int(np.isnan(logs).sum())
    places = ((worse, "in the candidate only"), (better, "in the reference only"), (both, "on both sides"))
    what = "nothing succeeded" if metric == "throughput" else f"so much failed that {metric} is undefined"
    notes = tuple(f"in {count} of {logs.size} pairs {what} {where}" for count, where in places if count)
    for count, sign in ((worse, 1.0), (better, -1.0)):
        if logs.size < 2 or not count or count + both < logs.size:
            continue
        p, end = _chance_of_one_side(count, logs.size), sign * math.inf
        p_worse, p_better = (p, 1.0) if sign > 0 else (1.0, p)
        if p <= alpha:
            return Effect(end, end, end, p_worse, p_better, notes=notes)
        if count == logs.size:
            needed = next(n for n in range(logs.size, 100) if _chance_of_one_side(n, n) <= alpha)
            notes += (f"{logs.size} pairs are too few to tell that from chance (p = {p:.2g})",)
            return replace(
                _NOTHING, centre=end, p_worse=p_worse, p_better=p_better, notes=notes, more_pairs=needed - logs.size
            )
    known = logs[~np.isnan(logs)]
    if known.size < 2:
        errors = _effect_on_errors(pairing, margin, alpha)
        notes += (f"error rate {errors.centre:+.1%} points: judge such a load by error_rate and throughput",)
        if logs.size >= 2 and errors.low > margin:
            return Effect(math.nan, math.inf, math.inf, errors.p_worse, 1.0, notes=notes)
        return replace(_NOTHING, notes=notes)
    centre, low, high = median_interval(known, alpha)
    p_worse = _sign_p(int((known > limit + TOLERANCE).sum()), known.size)
    p_better = _sign_p(int((known < -limit - TOLERANCE).sum()), known.size)
    return Effect(centre, low, high, p_worse, p_better, notes=(*notes, "the interval is that of the median pair"))


def _sign_p(successes: int, n: int) -> float:
    return float(special.bdtrc(successes - 1, n, 0.5)) if successes else 1.0


def _chance_of_one_side(count: int, n: int) -> float:
    """Return the p-value of "in ``count`` of ``n`` pairs the candidate's run failed and the reference's did not".

    Two boots of one service under one schedule fail alike, each with a probability q that may differ from pair to
    pair: the candidate alone fails with q (1 - q), which is at most 1/4. So the count is at most that of
    Bin(n, 1/4): with every one of n pairs 4^-n, which is 0.06 for two pairs and 0.016 for three. (It is the
    unconditional exact test of Barnard 1945 for that table, with a q for each pair.)
    """
    return float(special.bdtrc(count - 1, n, 0.25))


def _effect_of_saturation(
    pairing: Pairing, effect: Effect, logs: NDArray[np.float64], metric: str, limit: float, alpha: float
) -> Effect:
    """Where latency rises to the end of the run its length speaks: then the least of the pairs bounds the ratio.

    Only if every candidate run saturates and no reference run does, in so many pairs that it is beyond chance.
    """
    rising = [(saturation(r.latencies).rising, saturation(c.latencies).rising) for r, c in pairing.pairs]
    ours, theirs = sum(r for r, _ in rising), sum(c for _, c in rising)
    n = len(rising)
    if not ours and not theirs:
        return effect
    where = f"latency rises to the end of {ours} of {n} reference and {theirs} of {n} candidate runs (saturation)"
    note = f"{where}: {metric} there describes the run's length; judge throughput and errors, or lower the rate"
    effect = replace(effect, notes=(*effect.notes, note))
    least, p = float(logs.min()), _chance_of_one_side(n, n)
    if ours == 0 and theirs == n and least > limit and p <= alpha:
        return replace(effect, low=max(effect.low, least), p_worse=min(effect.p_worse, p))
    return effect


def _unqueued(pairing: Pairing) -> MeanEstimate | None:
    logs = np.array([unqueued_log_ratio(r.latencies, c.latencies) for r, c in pairing.pairs])
    return mean_of_values(logs) if np.isfinite(logs).all() else None


def _name_tail(pairing: Pairing, effect: Effect, metric: str, limit: float) -> Effect:
    """Say so where the tail regressed and the ordinary request did not."""
    body = _unqueued(pairing) if effect.low > limit else None
    if body is None or body.mean >= limit or effect.centre - body.mean <= limit:
        return effect
    note = (
        f"tail regression: {metric} x{math.exp(effect.centre):.2f}, but requests that met no queue "
        f"x{math.exp(body.mean):.2f}: a few requests got slower, not all of them"
    )
    return replace(effect, notes=(note, *effect.notes))


def _advise_rate(pairing: Pairing, effect: Effect, metric: str, limit: float, alpha: float) -> Effect:
    """Recommend a rate where a queue multiplies the noise between boots beyond what these pairs can decide.

    A queue at utilisation u multiplies a change of the service time by about 1 / (1 - u), so the ratio of the
    noise of the metric to that of the requests that met no queue tells u, and what u would be quiet enough.
    """
    estimate = effect.estimate
    body = _unqueued(pairing) if effect.low <= limit <= effect.high else None
    if estimate is None or body is None or body.sd == 0 or estimate.n < 3:
        return effect
    factor = estimate.sd / body.sd
    half = (effect.high - effect.centre) / limit
    if factor < 1.5 or half <= 1 or factor / half <= 1:
        return effect
    share = (1 - half / factor) / (1 - 1 / factor)
    note = (
        f"the queue multiplies the noise between boots by about {factor:.1f}; at about {share:.0%} of this rate "
        f"{estimate.n} pairs would tell"
    )
    return replace(effect, notes=(*effect.notes, note))
