"""Compare two sides of a measurement by one metric: the gate's decision rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.outcome import Outcome
from pytest_inferbench.pairing import Pairing, Sample, Side, pair_up, read_side
from pytest_inferbench.stats.paired import PairedMean, median_interval, paired_mean, pairs_to_decide
from pytest_inferbench.stats.proportions import holm
from pytest_inferbench.stats.quantiles import log_ratio, samples_needed, smooth_quantiles

__all__ = ["METRICS", "PERCENTILES", "Comparison", "compare", "compare_family"]

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
METRICS = (*PERCENTILES, "mean", "error_rate", "throughput")

#: Logarithms that agree to this much are equal: 5 % slower is not more than 5 % slower because of rounding.
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of the candidate against the reference.

    ``reference`` and ``candidate`` are the estimates over the paired runs in the metric's own unit (seconds, per
    second, fraction); ``ratio`` is candidate / reference and ``interval`` the two-sided 1 - 2 alpha interval of
    that ratio, except for ``error_rate``, whose interval is that of the difference candidate - reference.
    ``runs`` and ``requests`` count both sides as given, reference first. ``p_value`` is that of "worse than the
    margin", raw; ``adjusted_p`` is Holm's within a family. ``more_pairs``: how many more pairs would decide an
    INCONCLUSIVE comparison if the noise stays as seen (None: no realistic number, or nothing to decide).
    """

    metric: str
    outcome: Outcome
    ratio: float
    interval: tuple[float, float]
    reasons: tuple[str, ...]
    reference: float
    candidate: float
    pairs: int
    runs: tuple[int, int]
    requests: tuple[int, int]
    margin: float
    alpha: float
    pair_ratios: tuple[float, ...]
    p_value: float
    adjusted_p: float | None = None
    more_pairs: int | None = None
    #: p-value of "better than the margin", so that a family can hold IMPROVED to the same standard.
    p_improved: float = 1.0

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"a Comparison has no truth value: {self.metric} is {self.outcome}; look at .outcome "
            f"(`assert compare(...).outcome is Outcome.PASS`)"
        )


@dataclass(frozen=True, slots=True)
class _Finding:
    """What the pairs say on a scale where more is worse and 0 is no difference."""

    centre: float
    low: float
    high: float
    p_worse: float
    p_better: float
    estimate: PairedMean | None
    notes: tuple[str, ...] = ()


def compare(
    reference: Side, candidate: Side, *, metric: str = "p95", margin: float = 0.05, alpha: float = 0.05
) -> Comparison:
    """Compare ``candidate`` with ``reference`` by ``metric``, one number per run, pair by pair.

    Each side is a sequence of runs (``Run``, or 1-D latencies in seconds in arrival order, inf = failed); a bare
    ``Run`` or 1-D array is one run. ``metric``: p50 p90 p95 p99 mean error_rate throughput. ``margin``: the
    relative change that matters (absolute for error_rate), ``alpha``: the one-sided error rate.

    REGRESSED if the interval lies wholly above 1 + margin, IMPROVED if wholly below 1 / (1 + margin), PASS if it
    otherwise lies wholly below 1 + margin, else INCONCLUSIVE, which also stands for fewer than two pairs and for
    a percentile with too few requests. Raises ValidationError for input that cannot be runs.
    """
    if metric not in METRICS:
        raise ValidationError(f"unknown metric {metric!r}; choose one of {', '.join(METRICS)}")
    _check_number(margin, "margin", 0.0, math.inf)
    _check_number(alpha, "alpha", 0.0, 0.5)
    sides = read_side(reference, "reference"), read_side(candidate, "candidate")
    if metric == "throughput" and any(sample.run is None for side in sides for sample in side):
        raise ValidationError("throughput needs Run objects: latencies alone do not say when answers came back")
    pairing = pair_up(*sides)
    figures = np.array([_figures(r, c, metric) for r, c in pairing.pairs]).reshape(-1, 2)
    before, after = figures[:, 0], figures[:, 1]
    finding = _weigh(pairing, before, after, metric, margin, alpha)
    return _conclude(sides, pairing, before, after, finding, metric, margin, alpha)


def compare_family(
    reference: Side, candidate: Side, *, metrics: Sequence[str], margin: float = 0.05, alpha: float = 0.05
) -> tuple[Comparison, ...]:
    """Compare by several metrics as one family: Holm keeps the chance of any false REGRESSED at ``alpha``.

    Every Comparison keeps its raw interval and p-value; ``adjusted_p`` is Holm's. A metric that is REGRESSED on its
    own but not within the family becomes INCONCLUSIVE, with that reason; IMPROVED likewise becomes PASS.
    """
    if isinstance(metrics, str) or not metrics:
        raise ValidationError(f"metrics must be a non-empty sequence of names such as ('p50', 'p95'), got {metrics!r}")
    if len(set(metrics)) != len(metrics):
        raise ValidationError(f"metrics names one more than once: {tuple(metrics)!r}")
    singles = [compare(reference, candidate, metric=metric, margin=margin, alpha=alpha) for metric in metrics]
    if len(singles) == 1:
        return tuple(singles)
    worse = holm([c.p_value for c in singles])
    better = holm([c.p_improved for c in singles])
    return tuple(_adjust(c, p, q) for c, p, q in zip(singles, worse, better, strict=True))


def _adjust(c: Comparison, p_worse: float, p_better: float) -> Comparison:
    # An infinite bound means that every candidate run failed where no reference run did: not a matter of chance.
    if c.outcome is Outcome.REGRESSED and p_worse > c.alpha and math.isfinite(c.interval[0]):
        reason = f"worse on its own (p = {c.p_value:.3f}), but not as one of a family of metrics (Holm {p_worse:.3f})"
        return replace(c, adjusted_p=p_worse, outcome=Outcome.INCONCLUSIVE, reasons=(reason, *c.reasons))
    if c.outcome is Outcome.IMPROVED and p_better > c.alpha and math.isfinite(c.interval[1]):
        reason = f"better on its own, but not as one of a family of metrics (Holm {p_better:.3f})"
        return replace(c, adjusted_p=p_worse, outcome=Outcome.PASS, reasons=(reason, *c.reasons))
    return replace(c, adjusted_p=p_worse)


def _check_number(value: float, what: str, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low < value < high:
        wanted = f"between {low:g} and {high:g}" if math.isfinite(high) else f"greater than {low:g}"
        raise ValidationError(f"{what} must be a number {wanted}, got {value!r}")


def _figures(reference: Sample, candidate: Sample, metric: str) -> tuple[float, float]:
    """Return the metric of the two runs of a pair; +inf where failures leave it undefined."""
    if metric in PERCENTILES:
        return smooth_quantiles(reference.latencies, candidate.latencies, PERCENTILES[metric])
    return _figure(reference, metric), _figure(candidate, metric)


def _figure(sample: Sample, metric: str) -> float:
    if metric == "mean":
        return float(sample.latencies.mean())
    if metric == "error_rate":
        return sample.error_rate
    return sample.run.throughput if sample.run is not None else math.nan


def _weigh(
    pairing: Pairing,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    metric: str,
    margin: float,
    alpha: float,
) -> _Finding:
    """Return what the pairs say: differences of error rates, else logarithms of ratios, with more = worse."""
    if before.size == 0:
        return _Finding(math.nan, -math.inf, math.inf, 1.0, 1.0, None)
    if metric == "error_rate":
        return _weigh_errors(pairing, after - before, margin, alpha)
    limit = math.log1p(margin)
    logs = log_ratio(after, before) if metric != "throughput" else log_ratio(before, after)
    if np.isfinite(logs).all():
        return _from_mean(paired_mean(logs), limit, alpha)
    return _weigh_infinite(pairing, logs, metric, limit, margin, alpha)


def _from_mean(estimate: PairedMean, limit: float, alpha: float) -> _Finding:
    low, high = estimate.interval(alpha)
    worse, better = estimate.p_above(limit), estimate.p_below(-limit)
    return _Finding(estimate.mean, low, high, worse, better, estimate)


def _weigh_errors(pairing: Pairing, differences: NDArray[np.float64], margin: float, alpha: float) -> _Finding:
    finding = _from_mean(paired_mean(differences), margin, alpha)
    # Runs that agree to the last failure still leave rates of 1 - alpha^(1/n) possible: no t interval knows that.
    unseen = 1 - alpha ** (1 / sum(c.latencies.size for _, c in pairing.pairs))
    low, high = min(finding.low, finding.centre - unseen), max(finding.high, finding.centre + unseen)
    return replace(finding, low=low, high=high)


def _weigh_infinite(
    pairing: Pairing, logs: NDArray[np.float64], metric: str, limit: float, margin: float, alpha: float
) -> _Finding:
    """Judge a metric that failures leave undefined in some runs: by order statistics, else by the error rate."""
    undefined = int(np.isnan(logs).sum())
    gone, lost = int(np.isposinf(logs).sum()), int(np.isneginf(logs).sum())
    notes = [
        f"in {count} of {logs.size} pairs so much failed that {metric} is undefined {where}"
        for count, where in ((gone, "in the candidate only"), (lost, "in the reference only"), (undefined, "on both"))
        if count
    ]
    if metric == "throughput":
        notes = [f"{gone + lost + undefined} of {logs.size} pairs hold a run without a single good answer"]
    if logs.size >= 2 and gone == logs.size:
        return _Finding(math.inf, math.inf, math.inf, 0.5**gone, 1.0, None, tuple(notes))
    if logs.size >= 2 and lost == logs.size:
        return _Finding(-math.inf, -math.inf, -math.inf, 1.0, 0.5**lost, None, tuple(notes))
    known = logs[~np.isnan(logs)]
    if known.size < 2:
        return _Finding(math.nan, -math.inf, math.inf, 1.0, 1.0, None, (*notes, "judge it by error_rate instead"))
    centre, low, high = median_interval(known, alpha)
    worse = _sign_p(int((known > limit + _TOLERANCE).sum()), known.size)
    better = _sign_p(int((known < -limit - _TOLERANCE).sum()), known.size)
    return _Finding(centre, low, high, worse, better, None, (*notes, "the interval is that of the median pair"))


def _sign_p(successes: int, n: int) -> float:
    return math.fsum(math.comb(n, k) for k in range(successes, n + 1)) / float(2**n)


def _conclude(
    sides: tuple[tuple[Sample, ...], tuple[Sample, ...]],
    pairing: Pairing,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    finding: _Finding,
    metric: str,
    margin: float,
    alpha: float,
) -> Comparison:
    absolute = metric == "error_rate"
    limit = margin if absolute else math.log1p(margin)
    pairs = len(pairing.pairs)
    doubt = _too_few(pairing, metric, alpha)
    more: int | None = None
    if doubt:
        outcome = Outcome.INCONCLUSIVE
    elif finding.low > limit + _TOLERANCE:
        outcome = Outcome.REGRESSED
    elif finding.high < -limit - _TOLERANCE:
        outcome = Outcome.IMPROVED
    elif finding.high < limit - _TOLERANCE:
        outcome = Outcome.PASS
    else:
        outcome = Outcome.INCONCLUSIVE
        more = pairs_to_decide(finding.estimate, limit, alpha) if finding.estimate is not None else None
        doubt = (_undecided(more, margin),)
    low, high = finding.low, finding.high
    ratio = _ratio(before, after) if absolute else finding.centre
    if not absolute:
        low, high, ratio = _exp(low), _exp(high), _exp(ratio)
    if metric == "throughput":
        low, high, ratio = _reciprocal(high), _reciprocal(low), _reciprocal(ratio)
    typical: Callable[[NDArray[np.float64]], float] = _mean if absolute else _geometric_mean
    return Comparison(
        metric=metric,
        outcome=outcome,
        ratio=ratio,
        interval=(low, high),
        reasons=(*doubt, *finding.notes, *pairing.notes),
        reference=typical(before),
        candidate=typical(after),
        pairs=pairs,
        runs=(len(sides[0]), len(sides[1])),
        requests=(_count(sides[0]), _count(sides[1])),
        margin=float(margin),
        alpha=float(alpha),
        pair_ratios=tuple(float(_ratio(before[k : k + 1], after[k : k + 1])) for k in range(pairs)),
        p_value=finding.p_worse,
        more_pairs=more,
        p_improved=finding.p_better,
    )


def _too_few(pairing: Pairing, metric: str, alpha: float) -> tuple[str, ...]:
    """Return why nothing may be claimed at all: too few pairs, or too few requests for the percentile."""
    if len(pairing.pairs) < 2:
        found = "1 pair" if pairing.pairs else "no pairs"
        return (f"{found} of runs: between-boot noise needs at least 2 pairs, 5 to decide well",)
    if metric not in PERCENTILES:
        return ()
    p = PERCENTILES[metric]
    needed = samples_needed(p, alpha)
    seen = min(sum(s.latencies.size for s in side) for side in zip(*pairing.pairs, strict=True))
    if seen < needed:
        return (f"{metric} needs at least {needed} requests on each side, got {seen}: run longer or judge p50",)
    shortest = min(s.latencies.size for pair in pairing.pairs for s in pair)
    each = math.ceil(1 / (1 - p) - 1e-9)
    if shortest < each:
        return (f"{metric} needs at least {each} requests in each run, got {shortest}: run longer or judge p50",)
    return ()


def _undecided(more: int | None, margin: float) -> str:
    if more is None:
        return (
            f"the interval straddles the margin of {margin:.3g} and no realistic number of further pairs would decide"
        )
    return f"the interval straddles the margin of {margin:.3g}; about {more} more {_pairs(more)} would decide"


def _pairs(count: int) -> Literal["pair", "pairs"]:
    return "pair" if count == 1 else "pairs"


def _count(side: Sequence[Sample]) -> int:
    return sum(sample.latencies.size for sample in side)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else math.nan


def _geometric_mean(values: NDArray[np.float64]) -> float:
    """Return the geometric mean, so that candidate / reference is the estimated ratio; 0 or inf take over."""
    if values.size == 0:
        return math.nan
    if np.isfinite(values).all() and (values > 0).all():
        return float(np.exp(np.log(values).mean()))
    return float(np.sort(values)[values.size // 2])


def _ratio(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    a, b = _mean(after), _mean(before)
    return _exp(float(log_ratio(np.array([a]), np.array([b]))[0]))


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)  # a NaN stays one


def _reciprocal(value: float) -> float:
    return math.inf if value == 0 else 1 / value
