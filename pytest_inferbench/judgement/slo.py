"""Service level objectives, and whether the runs of a measurement met them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.comparison import PERCENTILES
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.runs.run import Run
from pytest_inferbench.stats.bootstrap import bootstrap_interval
from pytest_inferbench.stats.paired import mean_of_values
from pytest_inferbench.stats.proportions import clopper_pearson
from pytest_inferbench.stats.quantiles import quantile, samples_needed
from pytest_inferbench.stats.trend import saturation
from pytest_inferbench.units import parse_fraction, parse_rate, parse_seconds
from pytest_inferbench.workload.seeds import stream

__all__ = ["SLO", "SloCheck", "check_slo"]

Quantity = float | int | str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SLO:
    """What a service promises: at most these latencies and this error rate, at least this throughput.

    Latencies as ``"250ms"`` or seconds, ``error_rate`` as ``"0.1%"`` or a fraction, ``throughput`` (good answers
    per second) as ``"40/s"`` or a number. At least one; raises ValidationError naming the one that cannot be read.
    """

    p50: Quantity | None = None
    p90: Quantity | None = None
    p95: Quantity | None = None
    p99: Quantity | None = None
    error_rate: Quantity | None = None
    throughput: Quantity | None = None

    def __post_init__(self) -> None:
        limits = self.limits
        if not limits:
            raise ValidationError('an SLO needs at least one objective, for example SLO(p95="250ms", error_rate="1%")')
        ordered = [(name, limits[name]) for name in PERCENTILES if name in limits]
        for (low, at_low), (high, at_high) in itertools.pairwise(ordered):
            if at_low > at_high:
                raise ValidationError(f"SLO: {high} is stricter than {low}, but it can never be the smaller of the two")

    @property
    def limits(self) -> dict[str, float]:
        """The objectives that were given, by metric, in seconds, as a fraction and per second."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: _parse(name, value) for name, value in given.items() if value is not None}

    def __repr__(self) -> str:
        given = ((f.name, getattr(self, f.name)) for f in fields(self))
        return f"SLO({', '.join(f'{name}={value!r}' for name, value in given if value is not None)})"


def _parse(name: str, value: Quantity) -> float:
    what = f"SLO({name}=...)"
    if name == "error_rate":
        return parse_fraction(value, what=what)
    return parse_rate(value, what=what) if name == "throughput" else parse_seconds(value, what=what)


@dataclass(frozen=True, slots=True)
class SloCheck:
    """One objective: MET if ``interval`` (two-sided 1 - 2 alpha) lies wholly within ``limit``, MISSED if wholly beyond.

    UNCERTAIN if it straddles the limit or too few requests were seen; INVALID if nothing was measured.
    ``estimate``, ``interval`` and ``limit`` are in seconds, a fraction or per second; ``n`` counts requests.
    """

    metric: str
    outcome: Outcome
    estimate: float
    interval: tuple[float, float]
    limit: float
    n: int
    runs: int
    reasons: tuple[str, ...] = ()


def check_slo(runs: Sequence[Run], slo: SLO, *, alpha: float = 0.05) -> tuple[SloCheck, ...]:
    """Hold ``runs`` (each from its own boot, same workload and profile) to ``slo``, one check per objective.

    Several runs are clusters: the interval is Student's t over one figure per run (latencies on the log scale).
    One run has only itself: a stationary block bootstrap, seeded by the run, so that the answer is repeatable.
    """
    if not isinstance(slo, SLO):
        raise ValidationError(f"expected an SLO, got {slo!r}")
    if not 0 < alpha < 0.5:
        raise ValidationError(f"alpha must lie between 0 and 0.5, got {alpha!r}")
    return tuple(_check(list(runs), metric, limit, alpha) for metric, limit in slo.limits.items())


def _check(runs: list[Run], metric: str, limit: float, alpha: float) -> SloCheck:
    measured = [run for run in runs if len(run)]
    n = sum(len(run) for run in measured)
    if not measured:
        reason = "nothing was measured: no run holds a request"
        return SloCheck(metric, Outcome.INVALID, math.nan, (-math.inf, math.inf), limit, 0, len(runs), (reason,))
    reasons: list[str] = []
    if metric == "error_rate":
        estimate, interval = _error_rate(measured, alpha)
    elif metric == "throughput":
        estimate, interval = _throughput(measured, alpha)
    else:
        estimate, interval = _percentile(measured, PERCENTILES[metric], alpha)
        reasons += _percentile_doubts(measured, metric, alpha)
    inside, beyond = interval[1] <= limit, interval[0] > limit
    if metric == "throughput":
        inside, beyond = interval[0] >= limit, interval[1] < limit
    if beyond and not (reasons and n < samples_needed(PERCENTILES.get(metric, 0.5), alpha)):
        outcome = Outcome.MISSED
    elif inside and not reasons:
        outcome = Outcome.MET
    else:
        outcome = Outcome.UNCERTAIN
        if not reasons:
            reasons.append(_straddles(measured, metric, estimate, limit, alpha))
    return SloCheck(metric, outcome, estimate, interval, limit, n, len(runs), tuple(reasons))


def _percentile_doubts(runs: list[Run], metric: str, alpha: float) -> list[str]:
    """Return why the percentile cannot be claimed to be met, however the figures look."""
    doubts: list[str] = []
    needed, n = samples_needed(PERCENTILES[metric], alpha), sum(len(run) for run in runs)
    if n < needed:
        longer = needed / n
        doubts.append(f"{metric} needs at least {needed} requests, got {n}: a run {longer:.1f} times as long, or more")
    rising = sum(saturation(run.latencies).rising for run in runs)
    if 2 * rising > len(runs):
        which = "the run" if len(runs) == 1 else f"{rising} of {len(runs)} runs"
        doubts.append(f"latency still rises at the end of {which}: {metric} describes its length; lower the rate")
    return doubts


def _straddles(runs: list[Run], metric: str, estimate: float, limit: float, alpha: float) -> str:
    if metric == "error_rate" and estimate == 0 and limit > 0:
        needed = math.ceil(math.log(alpha) / math.log1p(-limit))
        return f"no failure among {sum(len(run) for run in runs)} requests; showing {limit:.3g} takes {needed} of them"
    if len(runs) == 1:
        return "the interval holds the limit; more boots (repeats) or a longer run would narrow it"
    return f"the interval over {len(runs)} boots holds the limit; more repeats would narrow it"


def _percentile(runs: list[Run], p: float, alpha: float) -> tuple[float, tuple[float, float]]:
    figures = np.array([quantile(run.latencies, p) for run in runs])
    if len(runs) == 1:
        latencies = runs[0].latencies
        beyond = (latencies > figures[0]).astype(np.float64)
        return float(figures[0]), _bootstrap(runs[0], latencies, lambda v: quantile(v, p), beyond, alpha)
    if not np.isfinite(figures).all():
        # A boot in which too much failed bounds the percentile from nowhere above.
        return float(np.sort(figures)[figures.size // 2]), (float(figures.min()), math.inf)
    if (figures <= 0).any():
        return float(figures.mean()), (float(figures.min()), float(figures.max()))
    estimate = mean_of_values(np.log(figures))
    low, high = estimate.interval(alpha)
    return math.exp(estimate.mean), (math.exp(low), math.exp(min(high, 700.0)))


def _error_rate(runs: list[Run], alpha: float) -> tuple[float, tuple[float, float]]:
    failed = [run.failed for run in runs]
    low, high = clopper_pearson(sum(int(f.sum()) for f in failed), sum(f.size for f in failed), alpha)
    rates = np.array([f.mean() for f in failed])
    if len(runs) > 1:
        wide = mean_of_values(rates).interval(alpha)
    else:
        # Failures come in clusters: the exact interval takes them for independent, so the wider one counts.
        series = failed[0].astype(np.float64)
        wide = _bootstrap(runs[0], series, lambda v: float(v.mean()), series, alpha)
    return float(rates.mean()), (max(0.0, min(low, wide[0])), min(1.0, max(high, wide[1])))


def _throughput(runs: list[Run], alpha: float) -> tuple[float, tuple[float, float]]:
    figures = np.array([run.throughput for run in runs])
    if len(runs) > 1 and np.isfinite(figures).all():
        estimate = mean_of_values(figures)
        low, high = estimate.interval(alpha)
        return estimate.mean, (max(0.0, low), high)
    run, figure = runs[0], float(figures[0])
    good = np.sort(run.completed_ns[~run.failed])
    if good.size < 3 or not math.isfinite(figure):
        return figure, (0.0, math.inf)
    gaps = np.diff(good, prepend=run.scheduled_ns[0]) / 1e9
    return figure, _bootstrap(run, gaps, lambda v: v.size / max(float(v.sum()), 1e-9), gaps, alpha)


def _bootstrap(
    run: Run,
    values: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], float],
    dependence: NDArray[np.float64],
    alpha: float,
) -> tuple[float, float]:
    rng = stream(run.seed, "bootstrap")
    return bootstrap_interval(values, statistic, dependence=dependence, alpha=alpha, rng=rng)
