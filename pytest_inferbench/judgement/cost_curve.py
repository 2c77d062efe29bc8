"""The cost curve: latency as a function of the size of a payload, and whether it got steeper or grew a step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.comparison import Comparison, compare
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.pairing import pair_up, read_runs
from pytest_inferbench.runs.run import Run
from pytest_inferbench.stats.paired import MeanEstimate, mean_of_changes, mean_of_values, pairs_to_decide
from pytest_inferbench.stats.quantiles import quantile
from pytest_inferbench.units import format_seconds

__all__ = ["CostChange", "CostCurve", "CostPoint", "compare_costs", "cost_curve", "fitted", "require_sizes"]

#: A class of sizes without edges of the user's own holds at least so many requests of every run.
_PER_CLASS = 12
#: What a more complicated shape must be better by, on the scale of twice a log likelihood ratio.
_EVIDENCE = 4.0
_NO_CURVE = "a cost curve needs at least two classes of sizes with good answers in every run"


@dataclass(frozen=True, slots=True)
class CostPoint:
    """Payloads of ``low`` to ``high`` tokens: their median latency in seconds, its interval over runs.

    ``size``: their median size. ``n``: requests in all runs.
    """

    low: int
    high: int
    size: float
    latency: float
    interval: tuple[float, float]
    n: int


@dataclass(frozen=True, slots=True, repr=False)
class CostCurve:
    """Median latency by size, and ``slope``: seconds per token, with its interval over ``runs``.

    A token is whatever the sizes count. The intervals are Student's t over one figure per run, two-sided 1 - 2 alpha.
    """

    points: tuple[CostPoint, ...]
    slope: float
    slope_interval: tuple[float, float]
    runs: int

    def __repr__(self) -> str:
        low, high = (format_seconds(end) for end in self.slope_interval)
        lines = [f"{format_seconds(self.slope)} per token ({low} to {high}) over {self.runs} runs"]
        lines += [
            f"  {point.low:>6}-{point.high:<6} {format_seconds(point.latency):>10} "
            f"({format_seconds(point.interval[0])} to {format_seconds(point.interval[1])}), n = {point.n}"
            for point in self.points
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """Return it as plain JSON values; an interval that is not known (one run has none) is None."""
        points = [{**asdict(point), "interval": _ends(point.interval)} for point in self.points]
        interval = _ends(self.slope_interval)
        return {"slope": self.slope, "slope_interval": interval, "runs": self.runs, "points": points}


@dataclass(frozen=True, slots=True)
class CostChange:
    """``checks``: one per class of sizes (metric ``"64-127 tokens"``) and one of the ``"slope"``, one family.

    ``explanation``: the shape of what regressed, a slope or a step and where it begins; empty where nothing did.
    """

    checks: tuple[Comparison, ...]
    explanation: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Runs by classes, none empty: ``medians`` (seconds, +inf where more failed than not) and ``middles`` (median
    sizes), both of shape (runs, classes)."""

    edges: tuple[tuple[int, int], ...]
    medians: NDArray[np.float64]
    middles: NDArray[np.float64]

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether a class has a median in every run, shape (classes,)."""
        return np.asarray((np.isfinite(self.medians) & (self.medians > 0)).all(axis=0))

    def only(self, chosen: NDArray[np.bool_]) -> _Table:
        """Return the table of the chosen classes."""
        edges = tuple(edge for edge, wanted in zip(self.edges, chosen, strict=True) if wanted)
        return _Table(edges, self.medians[:, chosen], self.middles[:, chosen])


def cost_curve(runs: Sequence[Run], *, edges: Sequence[int] | None = None, alpha: float = 0.05) -> CostCurve:
    """Return the curve of ``runs``, which know the ``sizes`` of their requests.

    ``edges`` (ascending) cut the sizes into classes: from one edge up to below the next; by default powers of two, as
    far as every class holds 12 requests of each run. The slope of a run is that of the line through the
    medians of its classes, by least squares of the *relative* errors: noise grows with the latency. Raises
    ValidationError for runs without sizes, and if fewer than two classes hold good answers of every run.
    """
    (table,) = _tables([runs], edges)
    if table.answered.sum() < 2:
        raise ValidationError(_NO_CURVE)
    table = table.only(table.answered)
    points = []
    for k, (low, high) in enumerate(table.edges):
        estimate = mean_of_values(np.log(table.medians[:, k]))
        ends = estimate.interval(alpha)
        points.append(
            CostPoint(
                low=low,
                high=high - 1,
                size=float(table.middles[:, k].mean()),
                latency=math.exp(estimate.mean),
                interval=(math.exp(ends[0]), math.exp(ends[1]) if ends[1] < 700 else math.inf),
                n=sum(int(_within(run, low, high).sum()) for run in runs),
            )
        )
    slopes = mean_of_values(_coefficients(table, table.medians, _typical(table))[:, 1])
    return CostCurve(tuple(points), slopes.mean, slopes.interval(alpha), len(runs))


def fitted(runs: Sequence[Run], *, alpha: float) -> dict[str, object] | None:
    """Return the curve of ``runs`` as plain values, to be kept; None where no sizes were counted or none can be had."""
    try:
        return cost_curve(runs, alpha=alpha).to_dict()
    except ValidationError:
        return None


def compare_costs(
    reference: Sequence[Run],
    candidate: Sequence[Run],
    *,
    edges: Sequence[int] | None = None,
    margin: float = 0.05,
    alpha: float = 0.05,
) -> CostChange:
    """Compare the curves of two sides pair by pair: the median latency of each class of sizes, and the slope.

    A step shows as the classes beyond it, a bump as its own class; both do not count as a slope, which is fitted
    beside them. All checks are one family, each held to ``alpha`` over their number (Bonferroni). The slope's margin
    is relative to the reference's slope, or, where that is next to nothing, to what makes up its middle latency over
    the whole range of sizes. A class of which more failed than not, on one side only, is a regression or an
    improvement like any other median, and has no part in the slope. Raises ValidationError as `cost_curve` does.
    """
    pairing = pair_up(read_runs(reference, "reference"), read_runs(candidate, "candidate"))
    if not pairing.pairs:
        raise ValidationError(f"the cost curves cannot be compared: {'; '.join(pairing.notes)}")
    sides = [[sample.run for sample in side if sample.run is not None] for side in zip(*pairing.pairs, strict=True)]
    before, after = _tables(sides, edges)
    level = alpha / (len(before.edges) + 1)
    classes = [
        compare(
            *([run.latencies[_within(run, low, high)] for run in side] for side in sides),
            metric="p50",
            margin=margin,
            alpha=level,
        )
        for low, high in before.edges
    ]
    named = [
        replace(check, metric=_span(low, high), reasons=(*check.reasons, *pairing.notes))
        for check, (low, high) in zip(classes, before.edges, strict=True)
    ]
    answered = before.answered & after.answered
    if answered.sum() < 2:
        return CostChange(tuple(named))
    before, after = before.only(answered), after.only(answered)
    weights, change = _typical(before), after.medians - before.medians
    worse = any(check.outcome is Outcome.REGRESSED for check in named)
    shape = _shape(before, change.mean(axis=0), weights) if worse else None
    step = shape if isinstance(shape, tuple) else None
    fits = [_coefficients(before, side, weights, step) for side in (before.medians, after.medians)]
    moved = [mean_of_changes(fits[0][:, k], fits[1][:, k], shared=True) for k in range(fits[0].shape[1])]
    slope = _compare_slopes(before, fits[1][:, 1] - fits[0][:, 1], moved[1], weights, sides, margin, level)
    explanation = ""
    if step is not None:
        explanation = _tell_step(before, step, moved[2], level)
    elif shape == "line" or slope.outcome is Outcome.REGRESSED:
        low, high = (format_seconds(end) for end in moved[1].interval(level))
        explanation = (
            f"the slope: {format_seconds(slope.reference)} per token before, {format_seconds(slope.candidate)} now "
            f"(change {low} to {high} per token)"
        )
    elif shape == "constant":
        explanation = "every size takes longer by about the same time: neither the slope nor a step"
    return CostChange((*named, slope), explanation)


def _ends(interval: tuple[float, float]) -> list[float] | None:
    return list(interval) if math.isfinite(interval[0]) and math.isfinite(interval[1]) else None


def require_sizes(runs: Sequence[Run]) -> None:
    """Raise ValidationError for runs whose payloads nobody counted."""
    for run in runs:
        _sizes(run)


def _within(run: Run, low: int, high: int) -> NDArray[np.bool_]:
    sizes = _sizes(run)
    return (sizes >= low) & (sizes < high)


def _sizes(run: Run) -> NDArray[np.int64]:
    if run.sizes is None:
        raise ValidationError("the sizes of the payloads are not known: measure(service, size=...) counts them")
    return run.sizes


def _span(low: int, high: int) -> str:
    return f"{low}-{high - 1} tokens"


def _tables(sides: Sequence[Sequence[Run]], edges: Sequence[int] | None) -> list[_Table]:
    """Return the table of each side, of the same classes: those that hold requests of every run of all sides."""
    if not all(sides):
        raise ValidationError("a cost curve needs at least one run")
    runs = [run for side in sides for run in side]
    found = tuple(edges) if edges is not None else _default_edges([_sizes(run) for run in runs])
    if len(found) < 3 or any(low >= high for low, high in itertools.pairwise(found)):
        if edges is None:
            raise ValidationError(f"{_NO_CURVE}; longer runs, or sizes that differ more")
        raise ValidationError(f"edges must ascend and make at least two classes, got {list(found)}")
    spans = list(itertools.pairwise(found))
    tables = []
    for side in sides:
        medians = np.full((len(side), len(spans)), math.nan)
        middles = medians.copy()
        for (row, run), (k, (low, high)) in itertools.product(enumerate(side), enumerate(spans)):
            chosen = _within(run, low, high)
            if chosen.any():
                medians[row, k] = quantile(run.latencies[chosen], 0.5)
                middles[row, k] = np.median(_sizes(run)[chosen])
        tables.append((medians, middles))
    kept = np.flatnonzero(np.logical_and.reduce([np.isfinite(middles).all(axis=0) for _, middles in tables]))
    if kept.size < 2:
        raise ValidationError(_NO_CURVE)
    return [_Table(tuple(spans[k] for k in kept), m[:, kept], middles[:, kept]) for m, middles in tables]


def _default_edges(sizes: Sequence[NDArray[np.int64]]) -> tuple[int, ...]:
    """Return round edges such that each class holds `_PER_CLASS` requests of every run; too few edges if none do."""
    smallest = min(int(size.min()) for size in sizes)
    largest = max(int(size.max()) for size in sizes)
    edges = [smallest]
    for edge in (2**power for power in range(1, largest.bit_length())):
        if edge > edges[-1] and all(((s >= edges[-1]) & (s < edge)).sum() >= _PER_CLASS for s in sizes):
            edges.append(edge)
    if len(edges) > 1 and not all((size >= edges[-1]).sum() >= _PER_CLASS for size in sizes):
        edges.pop()  # what is left over goes to the last class
    return (*edges, largest + 1)


def _typical(table: _Table) -> NDArray[np.float64]:
    """Return the latency of each class over the runs, seconds: what errors are relative to."""
    return np.asarray(np.exp(np.log(table.medians).mean(axis=0)))


def _coefficients(
    table: _Table, values: NDArray[np.float64], scale: NDArray[np.float64], step: tuple[int, int] | None = None
) -> NDArray[np.float64]:
    """Return intercept, slope and height of the step (if any) of each row of ``values``, shape (runs, 2 or 3)."""
    return np.array(
        [
            np.linalg.lstsq(_design(table.middles[row], step) / scale[:, None], values[row] / scale, rcond=None)[0]
            for row in range(len(values))
        ]
    )


def _design(sizes: NDArray[np.float64], step: tuple[int, int] | None) -> NDArray[np.float64]:
    columns = [np.ones(sizes.size), sizes]
    if step is not None:
        columns.append(((np.arange(sizes.size) >= step[0]) & (np.arange(sizes.size) < step[1])).astype(float))
    return np.column_stack(columns)


def _shape(table: _Table, change: NDArray[np.float64], scale: NDArray[np.float64]) -> str | tuple[int, int]:
    """Return what describes a change by class best: "constant", "line", or the classes [first, last) of a step.

    The least of the Bayesian information criteria (Schwarz 1978) of the fits, where a parameter more must be worth
    `_EVIDENCE` beyond that; a step has its place as a parameter, a bump two. Which it is only names what is known to
    have changed: no verdict hangs on it.
    """
    sizes = table.middles.mean(axis=0)
    count = int(sizes.size)
    ones = np.ones((count, 1))
    candidates: list[tuple[str | tuple[int, int], NDArray[np.float64], int]] = [
        ("constant", ones, 1),
        ("line", _design(sizes, None), 2),
    ]
    if count >= 4:
        for first, last in itertools.combinations(range(count + 1), 2):
            if (first, last) != (0, count):
                column = _design(sizes, (first, last))[:, 2:]
                candidates.append(((first, last), np.hstack([ones, column]), 3 if last == count else 4))
    noise = 1e-4 * float(np.abs(change / scale).max()) + 1e-12  # no fit is better than the clock

    def criterion(candidate: tuple[str | tuple[int, int], NDArray[np.float64], int]) -> float:
        _, design, parameters = candidate
        design = design / scale[:, None]
        left = change / scale - design @ np.linalg.lstsq(design, change / scale, rcond=None)[0]
        spread = float(left @ left) / count + noise * noise
        return count * math.log(spread) + parameters * (math.log(count) + _EVIDENCE)

    return min(candidates, key=criterion)[0]


def _tell_step(table: _Table, step: tuple[int, int], height: MeanEstimate, level: float) -> str:
    first, last = step
    low, high = (format_seconds(end) for end in height.interval(level))
    where = f"from {table.edges[first][0]} tokens on"
    if last < len(table.edges):
        where = f"at {table.edges[first][0]} to {table.edges[last - 1][1] - 1} tokens only"
    return f"a step: {format_seconds(height.mean)} ({low} to {high}) more {where}"


def _compare_slopes(
    before: _Table,
    changes: NDArray[np.float64],
    change: MeanEstimate,
    scale: NDArray[np.float64],
    sides: Sequence[Sequence[Run]],
    margin: float,
    level: float,
) -> Comparison:
    """Hold the change of the slope, seconds per token, to ``margin``; as a ratio, to be read like any other."""
    slope = float(_coefficients(before, before.medians, scale)[:, 1].mean())
    sizes = before.middles.mean(axis=0)
    least = float(np.median(scale)) / float(sizes[-1] - sizes[0])
    unit = max(slope, least)
    relative = replace(change, mean=change.mean / unit, se=change.se / unit)
    low, high = relative.interval(level)
    reasons: tuple[str, ...] = ()
    if slope < least:
        reasons = (f"latency hardly depends on the size: the margin is one of {format_seconds(least)} per token",)
    more: int | None = None
    if change.n < 2:
        outcome = Outcome.INCONCLUSIVE
        reasons = ("1 pair of runs: between-boot noise needs at least 2 pairs, 5 to decide well", *reasons)
    elif low > margin:
        outcome = Outcome.REGRESSED
    elif high < -margin:
        outcome = Outcome.IMPROVED
    elif high < margin:
        outcome = Outcome.PASS
    else:
        outcome = Outcome.INCONCLUSIVE
        more = pairs_to_decide(relative, margin, level)
        reasons = (f"the interval straddles the margin of {margin:.3g}", *reasons)
    return Comparison(
        metric="slope",
        outcome=outcome,
        ratio=1 + relative.mean,
        interval=(1 + low, 1 + high),
        reasons=reasons,
        reference=slope,
        candidate=slope + change.mean,
        pairs=change.n,
        runs=(len(sides[0]), len(sides[1])),
        requests=(sum(map(len, sides[0])), sum(map(len, sides[1]))),
        margin=margin,
        alpha=level,
        pair_ratios=tuple(float(1 + value / unit) for value in changes),
        p_value=relative.p_above(margin),
        more_pairs=more,
    )
