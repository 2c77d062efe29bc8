"""Compare two sides of a measurement by one metric: the gate's decision rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.effect import TOLERANCE, Effect, estimate_effect, figures
from pytest_inferbench.judgement.estimate import METRICS, PERCENTILES, run_figure, typical
from pytest_inferbench.judgement.machine_drift import discount, machine_drift
from pytest_inferbench.judgement.outcome import Comparison, Outcome
from pytest_inferbench.judgement.pairing import Pairing, Runs, Sample, pair_up, read_runs
from pytest_inferbench.stats.paired import pairs_to_decide
from pytest_inferbench.stats.proportions import holm
from pytest_inferbench.stats.quantiles import log_ratio, samples_needed

__all__ = ["METRICS", "PERCENTILES", "Comparison", "compare", "compare_family"]


@dataclass(frozen=True, slots=True)
class _Single:
    """A comparison by itself, and the p-value of "better than the margin", by which a family judges IMPROVED."""

    comparison: Comparison
    p_better: float


def compare(
    reference: Runs,
    candidate: Runs,
    *,
    metric: str = "p95",
    margin: float = 0.05,
    alpha: float = 0.05,
    stored: bool = False,
) -> Comparison:
    """Compare ``candidate`` with ``reference`` by ``metric``, one number per run, pair by pair.

    Each side is a sequence of runs (``Run``, or 1-D latencies in seconds in arrival order, inf = failed); a bare
    ``Run`` or 1-D array is one run. ``metric``: p50 p90 p95 p99 mean error_rate throughput. ``margin``: the
    relative change that matters (absolute for error_rate), ``alpha``: the one-sided error rate.

    Pairs count as pairs where the requests show that both runs were issued the same ones, or where the values of all
    pairs go together; else the runs are two independent samples (Welch), see `mean_of_changes`. Which of the two is
    decided without looking at the change.

    REGRESSED if the interval lies wholly above 1 + margin, IMPROVED if wholly below 1 / (1 + margin), PASS if it
    otherwise lies wholly below 1 + margin, else INCONCLUSIVE, which also stands for fewer than two pairs and for
    a percentile with too few requests. Raises ValidationError for input that cannot be runs.

    ``stored``: the reference was measured at another time. What the machine's change since then may explain, by the
    reference computation that the runs carry (``Run.calibration_ns``), is INCONCLUSIVE (`discount` says how); the
    ratio and the interval stay as measured. Without two such runs on each side nothing is discounted.
    """
    return _compare(reference, candidate, metric, margin, alpha, stored).comparison


def _compare(reference: Runs, candidate: Runs, metric: str, margin: float, alpha: float, stored: bool) -> _Single:
    if metric not in METRICS:
        raise ValidationError(f"unknown metric {metric!r}; choose one of {', '.join(METRICS)}")
    _check_number(margin, "margin", 0.0, math.inf)
    _check_number(alpha, "alpha", 0.0, 0.5)
    sides = read_runs(reference, "reference"), read_runs(candidate, "candidate")
    if metric == "throughput" and any(sample.run is None for side in sides for sample in side):
        raise ValidationError("throughput needs Run objects: latencies alone do not say when answers came back")
    pairing = pair_up(*sides)
    before, after = figures(pairing, metric)
    effect = estimate_effect(pairing, before, after, metric=metric, margin=margin, alpha=alpha)
    check = _conclude(sides, pairing, before, after, effect, metric, margin, alpha)
    return _Single(_discounted(check, sides, pairing) if stored else check, effect.p_better)


def _discounted(check: Comparison, sides: Sequence[Sequence[Sample]], pairing: Pairing) -> Comparison:
    before, after = ([sample.run for sample in side if sample.run is not None] for side in sides)
    drift = machine_drift(before, after, alpha=check.alpha) if before and after else None
    return discount(check, drift, [reference.run for reference, _ in pairing.pairs if reference.run is not None])


def compare_family(
    reference: Runs,
    candidate: Runs,
    *,
    metrics: Sequence[str],
    margin: float = 0.05,
    alpha: float = 0.05,
    stored: bool = False,
) -> tuple[Comparison, ...]:
    """Compare by several metrics as one family: Holm keeps the chance of any false REGRESSED at ``alpha``.

    Every Comparison keeps its raw interval and p-value; ``adjusted_p`` is Holm's. A metric that is REGRESSED on its
    own but not within the family becomes INCONCLUSIVE, with that reason; IMPROVED likewise becomes PASS. ``stored`` as
    of `compare`: the machine is the same for every metric, and so no matter of the family.
    """
    if isinstance(metrics, str) or not metrics:
        raise ValidationError(f"metrics must be a non-empty sequence of names such as ('p50', 'p95'), got {metrics!r}")
    if len(set(metrics)) != len(metrics):
        raise ValidationError(f"metrics names one more than once: {tuple(metrics)!r}")
    singles = [_compare(reference, candidate, metric, margin, alpha, stored) for metric in metrics]
    if len(singles) == 1:
        return (singles[0].comparison,)
    worse = holm([single.comparison.p_value for single in singles])
    better = holm([single.p_better for single in singles])
    return tuple(_adjust(single.comparison, p, q) for single, p, q in zip(singles, worse, better, strict=True))


def _adjust(c: Comparison, p_worse: float, p_better: float) -> Comparison:
    if c.outcome is Outcome.REGRESSED and p_worse > c.alpha:
        reason = f"worse on its own (p = {c.p_value:.3f}), but not as one of a family of metrics (Holm {p_worse:.3f})"
        return replace(c, adjusted_p=p_worse, outcome=Outcome.INCONCLUSIVE, reasons=(reason, *c.reasons))
    if c.outcome is Outcome.IMPROVED and p_better > c.alpha:
        reason = f"better on its own, but not as one of a family of metrics (Holm {p_better:.3f})"
        return replace(c, adjusted_p=p_worse, outcome=Outcome.PASS, reasons=(reason, *c.reasons))
    return replace(c, adjusted_p=p_worse)


def _check_number(value: float, what: str, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low < value < high:
        wanted = f"between {low:g} and {high:g}" if math.isfinite(high) else f"greater than {low:g}"
        raise ValidationError(f"{what} must be a number {wanted}, got {value!r}")


def _conclude(
    sides: tuple[tuple[Sample, ...], tuple[Sample, ...]],
    pairing: Pairing,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    effect: Effect,
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
    elif effect.low > limit + TOLERANCE:
        outcome = Outcome.REGRESSED
    elif effect.high < -limit - TOLERANCE:
        outcome = Outcome.IMPROVED
    elif effect.high < limit - TOLERANCE:
        outcome = Outcome.PASS
    else:
        outcome = Outcome.INCONCLUSIVE
        more = effect.more_pairs
        if effect.estimate is not None:
            more = pairs_to_decide(effect.estimate, limit, alpha)
        doubt = (_undecided(more, margin),)
    low, high = effect.low, effect.high
    ratio = _ratio(before, after) if absolute else effect.centre
    if not absolute:
        low, high, ratio = _exp(low), _exp(high), _exp(ratio)
    if metric == "throughput":
        low, high, ratio = _reciprocal(high), _reciprocal(low), _reciprocal(ratio)
    # Each side by itself, so that it is the figure that the summary shows of the same runs.
    shown = [typical([run_figure(sample, metric) for sample in side], metric) for side in pairing.sides]
    return Comparison(
        metric=metric,
        outcome=outcome,
        ratio=ratio,
        interval=(low, high),
        reasons=(*doubt, *effect.notes, *pairing.notes),
        reference=shown[0],
        candidate=shown[1],
        pairs=pairs,
        runs=(len(sides[0]), len(sides[1])),
        requests=(_count(sides[0]), _count(sides[1])),
        margin=float(margin),
        alpha=float(alpha),
        pair_ratios=tuple(float(_ratio(before[k : k + 1], after[k : k + 1])) for k in range(pairs)),
        p_value=effect.p_worse,
        more_pairs=more,
    )


def _too_few(pairing: Pairing, metric: str, alpha: float) -> tuple[str, ...]:
    """Return why nothing may be claimed at all: too few pairs, or too few requests for the percentile."""
    if len(pairing.pairs) < 2:
        found = "1 pair" if pairing.pairs else "no pairs"
        return (f"{found} of runs: between-boot noise needs at least 2 pairs, 5 to decide well",)
    if metric not in PERCENTILES:
        return ()
    p = PERCENTILES[metric]
    advice = "run longer" if metric == "p50" else "run longer or judge a lower percentile"
    needed = samples_needed(p, alpha)
    seen = min(sum(s.latencies.size for s in side) for side in zip(*pairing.pairs, strict=True))
    if seen < needed:
        return (f"{metric} needs at least {needed} requests on each side, got {seen}: {advice}",)
    shortest = min(s.latencies.size for pair in pairing.pairs for s in pair)
    each = math.ceil(1 / (1 - p) - 1e-9)
    if shortest < each:
        return (f"{metric} needs at least {each} requests in each run, got {shortest}: {advice}",)
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


def _ratio(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    a, b = _mean(after), _mean(before)
    return _exp(float(log_ratio(np.array([a]), np.array([b]))[0]))


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)  # a NaN stays one


def _reciprocal(value: float) -> float:
    return math.inf if value == 0 else 1 / value
