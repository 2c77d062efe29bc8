"""Service level objectives, and whether the runs of a measurement met them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NoReturn

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.estimate import PERCENTILES, Estimate, estimate
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.pairing import Runs, Sample, read_runs
from pytest_inferbench.judgement.validity import died
from pytest_inferbench.runs.run import Run
from pytest_inferbench.units import parse_fraction, parse_rate, parse_seconds

__all__ = ["SLO", "SloCheck"]

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

    def check(self, runs: Runs, *, alpha: float = 0.05) -> tuple[SloCheck, ...]:
        """Hold ``runs`` (each from its own boot, same workload and profile) to each objective, in their order. Pure.

        A run is a ``Run`` or a 1-D array of latencies in seconds in arrival order (inf = failed), as for `compare`;
        throughput needs ``Run``s. A percentile is MET only where every run has the requests that it needs (59 for
        p95, 299 for p99 at alpha 0.05) and, by all of them, more than 1 - p of the requests taking longer than the
        limit is excluded at ``alpha``. No runs, or none with a request, are INVALID. Raises ValidationError for
        what cannot be runs.
        """
        if not 0 < alpha < 0.5:
            raise ValidationError(f"alpha must lie between 0 and 0.5, got {alpha!r}")
        samples, count = _read(runs)
        if "throughput" in self.limits and any(sample.run is None for sample in samples):
            raise ValidationError("throughput needs Run objects: latencies alone do not say when answers came back")
        return _Checks(_check(samples, count, metric, limit, alpha) for metric, limit in self.limits.items())

    def __repr__(self) -> str:
        given = ((f.name, getattr(self, f.name)) for f in fields(self))
        return f"SLO({', '.join(f'{name}={value!r}' for name, value in given if value is not None)})"


class _Checks(tuple["SloCheck", ...]):
    """One check per objective. A tuple that holds anything is true: here that would pass whatever was MISSED."""

    __slots__ = ()

    def __bool__(self) -> NoReturn:
        found = ", ".join(f"{check.metric} {check.outcome}" for check in self)
        raise TypeError(
            f"the checks of an SLO have no truth value ({found}); look at their outcomes "
            "(`assert all(check.outcome is Outcome.MET for check in slo.check(runs))`)"
        )


def _read(runs: Runs) -> tuple[tuple[Sample, ...], int]:
    """Return the runs that hold requests, and how many there were."""
    given: Any = [runs] if isinstance(runs, Run) else runs
    if isinstance(given, Sequence) and not isinstance(given, str):
        measured = [run for run in given if not (isinstance(run, Run) and len(run) == 0)]
        return (read_runs(measured, "measurement") if measured else ()), len(given)
    samples = read_runs(given, "measurement")
    return samples, len(samples)


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


def _check(samples: Sequence[Sample], count: int, metric: str, limit: float, alpha: float) -> SloCheck:
    if not samples:
        reason = "nothing was measured: no run holds a request"
        return SloCheck(metric, Outcome.INVALID, math.nan, (-math.inf, math.inf), limit, 0, count, (reason,))
    found = estimate(samples, metric, alpha=alpha)
    low, high = found.interval
    within, beyond = high <= limit, low > limit
    if metric == "throughput":
        within, beyond = low >= limit, high < limit
    outcome = Outcome.MET if within else Outcome.MISSED if beyond else Outcome.UNCERTAIN
    reasons = found.doubts
    dead = sum(sample.run is not None and died(sample.run) for sample in samples)
    if outcome is Outcome.UNCERTAIN and metric != "throughput" and found.value > limit and 2 * dead > len(samples):
        # Failures that follow one another count as few. That a service ended is not a matter of few or many.
        ended = f"no good answer came after some instant in {dead} of {len(samples)} runs"
        return SloCheck(metric, Outcome.MISSED, found.value, found.interval, limit, found.n, count, (ended,))
    if outcome is Outcome.UNCERTAIN and not reasons:
        reasons = (_straddles(found, metric, limit, alpha),)
    return SloCheck(metric, outcome, found.value, found.interval, limit, found.n, count, reasons)


def _straddles(found: Estimate, metric: str, limit: float, alpha: float) -> str:
    if metric == "error_rate" and found.value == 0 and limit > 0:
        needed = math.ceil(math.log(alpha) / math.log1p(-limit))
        return f"no failure among {found.n} requests; showing {limit:.3g} takes {needed} of them"
    if found.runs == 1:
        return "the interval holds the limit; more boots (repeats) or a longer run would narrow it"
    return f"the interval over {found.runs} boots holds the limit; more repeats would narrow it"
