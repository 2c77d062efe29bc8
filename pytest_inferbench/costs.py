"""The cost curve: latency as a function of the size of a payload, and whether it got steeper or grew a step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.comparison import Comparison, compare
from pytest_inferbench.errors import ValidationError
from pytest_inferbench.quantity import format_seconds
from pytest_inferbench.run import Run
from pytest_inferbench.stats.paired import paired_mean
from pytest_inferbench.stats.quantiles import quantile

__all__ = ["CostCurve", "CostPoint", "compare_costs", "cost_curve"]

Sizes = Sequence[NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class CostPoint:
    """Payloads of ``low`` to ``high`` units (tokens, say): their median latency in seconds, its interval over runs.

    ``size``: their mean size. ``n``: requests in all runs.
    """

    low: int
    high: int
    size: float
    latency: float
    interval: tuple[float, float]
    n: int


@dataclass(frozen=True, slots=True, repr=False)
class CostCurve:
    """Median latency by size, and ``slope``: seconds per unit, with its interval over ``runs``."""

    points: tuple[CostPoint, ...]
    slope: float
    slope_interval: tuple[float, float]
    runs: int

    def __repr__(self) -> str:
        low, high = (format_seconds(end) for end in self.slope_interval)
        lines = [f"{format_seconds(self.slope)} per unit ({low} to {high}) over {self.runs} runs"]
        lines += [
            f"  {point.low:>6}-{point.high:<6} {format_seconds(point.latency):>10} "
            f"({format_seconds(point.interval[0])} to {format_seconds(point.interval[1])}), n = {point.n}"
            for point in self.points
        ]
        return "\n".join(lines)


def cost_curve(runs: Sequence[Run], sizes: Sizes, *, edges: Sequence[int], alpha: float = 0.05) -> CostCurve:
    """Return the curve of ``runs``, whose requests have ``sizes`` (one array per run, in arrival order).

    ``edges`` (ascending) cut the sizes into classes: from one edge up to below the next. A class's interval is
    Student's t over the logarithms of the runs' medians, two-sided 1 - 2 alpha. A run's slope is the median of the
    slopes between every two of its classes (Theil 1950, Sen 1968), so that no single class, and no step, decides it.
    Raises ValidationError if fewer than two classes hold requests of every run, or most of a class failed.
    """
    medians, means = _medians(runs, sizes, edges)
    kept = np.flatnonzero(np.isfinite(medians).all(axis=0))
    if kept.size < 2:
        raise ValidationError("a cost curve needs at least two classes of sizes with good answers in every run")
    points = []
    for k in kept:
        estimate = paired_mean(np.log(medians[:, k]))
        low, high = (math.exp(min(end, 700.0)) for end in estimate.interval(alpha))
        count = sum(int(_within(size, edges, int(k)).sum()) for size in sizes)
        size = float(means[:, k].mean())
        points.append(
            CostPoint(edges[int(k)], edges[int(k) + 1] - 1, size, math.exp(estimate.mean), (low, high), count)
        )
    slopes = paired_mean(np.array([_slope(means[row, kept], medians[row, kept]) for row in range(len(runs))]))
    return CostCurve(tuple(points), slopes.mean, slopes.interval(alpha), len(runs))


def compare_costs(
    reference: Sequence[Run],
    candidate: Sequence[Run],
    sizes: Sizes,
    *,
    edges: Sequence[int],
    margin: float = 0.05,
    alpha: float = 0.05,
) -> dict[str, Comparison]:
    """Compare two sides that got the same payloads, class by class and in the slope; keys ``"16-31"``, ``"slope"``.

    A step shows as one class that REGRESSED, a steeper curve in the slope. All of them are one family: each is held
    to ``alpha`` over their number (Bonferroni). The i-th runs of both sides have the sizes ``sizes[i]``.
    """
    if not len(reference) == len(candidate) == len(sizes):
        raise ValidationError(
            f"compare_costs: {len(reference)} and {len(candidate)} runs with {len(sizes)} arrays of sizes"
        )
    before, means = _medians(reference, sizes, edges)
    after, _ = _medians(candidate, sizes, edges)
    kept = [int(k) for k in np.flatnonzero(np.isfinite(before).all(axis=0) & np.isfinite(after).all(axis=0))]
    if len(kept) < 2:
        raise ValidationError("a cost curve needs at least two classes of sizes with good answers in every run")
    level = alpha / (len(kept) + 1)
    found = {}
    for k in kept:
        sides = ([run.latencies[_within(s, edges, k)] for run, s in zip(side, sizes, strict=True)] for side in
                 (reference, candidate))  # fmt: skip
        found[f"{edges[k]}-{edges[k + 1] - 1}"] = compare(*sides, metric="p50", margin=margin, alpha=level)
    # A slope is a time like any other: compared as the one "latency" of a run.
    slopes = [
        [np.array([max(_slope(means[row, kept], medians[row, kept]), 1e-12)]) for row in range(len(sizes))]
        for medians in (before, after)
    ]
    found["slope"] = compare(*slopes, metric="mean", margin=margin, alpha=level)
    return found


def _within(size: NDArray[np.int64], edges: Sequence[int], k: int) -> NDArray[np.bool_]:
    return (np.asarray(size) >= edges[k]) & (np.asarray(size) < edges[k + 1])


def _medians(
    runs: Sequence[Run], sizes: Sizes, edges: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return median latency and mean size, shape (runs, classes); NaN where a class of a run is empty."""
    if len(runs) != len(sizes) or not len(runs):
        raise ValidationError(f"a cost curve needs the sizes of each run: {len(runs)} runs, {len(sizes)} arrays")
    if len(edges) < 3 or any(low >= high for low, high in itertools.pairwise(edges)):
        raise ValidationError(f"edges must ascend and make at least two classes, got {list(edges)}")
    medians = np.full((len(runs), len(edges) - 1), math.nan)
    means = medians.copy()
    for row, (run, size) in enumerate(zip(runs, sizes, strict=True)):
        if np.shape(size) != (len(run),):
            raise ValidationError(f"run {row + 1} has {len(run)} requests and sizes of shape {np.shape(size)}")
        for k in range(len(edges) - 1):
            chosen = _within(size, edges, k)
            if chosen.any():
                medians[row, k] = quantile(run.latencies[chosen], 0.5)
                means[row, k] = np.asarray(size)[chosen].mean()
    return medians, means


def _slope(sizes: NDArray[np.float64], latencies: NDArray[np.float64]) -> float:
    first, second = np.triu_indices(sizes.size, 1)
    return float(np.median((latencies[second] - latencies[first]) / (sizes[second] - sizes[first])))
