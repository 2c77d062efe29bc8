"""Checks whether a run is valid, and finds what percentiles do not show: saturation, errors, a dead service."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.runs.run import Failure, Run
from pytest_inferbench.stats.quantiles import quantile
from pytest_inferbench.stats.trend import saturation
from pytest_inferbench.units import format_seconds

__all__ = ["Finding", "died", "examine"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a run broke: the ``value`` seen, the ``limit`` it crossed, and what to do about it.

    ``kind`` "invalid": the measurement failed, and the run is not evidence about the service. "service": a result.
    "machine": the machine was faster or slower than when the baseline was recorded.
    """

    rule: str
    kind: Literal["invalid", "service", "machine"]
    message: str
    value: float
    limit: float
    recommendation: str


def examine(
    run: Run,
    *,
    median_delay: float = 0.1,
    issue_delay: float = 0.25,
    issue_delay_floor: float = 0.002,
    unissued: float = 0.001,
    least_requests: int = 20,
    error_rate: float = 0.0,
    died: int = 10,
) -> tuple[Finding, ...]:
    """Return the findings about ``run``: those of kind "invalid" first; none if there is nothing to report.

    The generator's delay is inside the latency and reported; it voids a run where it is a good part of what is
    judged, each percentile of the delay held against the same percentile of the latency of good answers:
    ``median_delay`` for the medians, ``issue_delay`` for p95 and p99. Delays under ``issue_delay_floor`` seconds
    are what any scheduler does to a Python process. ``unissued``: fraction of requests never sent.
    ``least_requests``: fewer measure nothing. ``error_rate``: failed among issued requests; above it they are
    named. ``died``: that many requests or more (and one in twenty) were due after the last good answer came.
    """
    limits = {"median_delay": median_delay, "issue_delay": issue_delay, "unissued": unissued, "error_rate": error_rate}
    for name, limit in limits.items():
        if not limit >= 0:
            raise ValidationError(f"examine: {name} must not be negative, got {limit!r}")
    found = [
        _too_few_samples(run, least_requests),
        _issued_rate(run, unissued),
        _issue_delay(run, {0.5: median_delay, 0.95: issue_delay, 0.99: issue_delay}, issue_delay_floor),
        _died(run, died),
        _saturated(run),
        _errors(run, error_rate),
    ]
    return tuple(finding for finding in found if finding is not None)


def _too_few_samples(run: Run, least: int) -> Finding | None:
    if len(run) >= least:
        return None
    message = f"{len(run)} requests were due, but at least {least} are needed"
    return Finding("too-few-samples", "invalid", message, len(run), least, "raise the rate or the duration")


def _issued_rate(run: Run, limit: float) -> Finding | None:
    missing = int((run.issued_ns < 0).sum())
    if not len(run) or missing / len(run) <= limit:
        return None
    message = f"{missing} of {len(run)} requests were never sent: the load was not the planned one"
    advice = "lower the rate, raise the limit of open files, or reserve a CPU core for the load generator"
    return Finding("issued-rate", "invalid", message, missing / len(run), limit, advice)


def _issue_delay(run: Run, limits: Mapping[float, float], floor: float) -> Finding | None:
    delays = run.issue_delay_ns[run.issued_ns >= 0] / 1e9
    good = run.latency_ns[~run.failed] / 1e9
    if not delays.size or not good.size:
        return None
    for p, limit in limits.items():
        late, latency = quantile(delays, p), quantile(good, p)
        if late <= floor or late <= limit * latency:
            continue
        value = late / latency if latency > 0 else math.inf
        message = (
            f"the load generator sent requests late: the p{p * 100:.0f} of its delay is {format_seconds(late)}, "
            f"{value:.0%} of the p{p * 100:.0f} of the latency ({format_seconds(latency)})"
        )
        advice = "lower the rate, or reserve a CPU core that the service does not use for the load generator"
        return Finding("issue-delay", "invalid", message, value, limit, advice)
    return None


def died(run: Run, least: int = 10) -> bool:
    """Return whether no good answer came any more, although ``least`` requests or more (and one in twenty) were due."""
    return _after_the_last_answer(run) >= max(least, math.ceil(len(run) / 20))


def _after_the_last_answer(run: Run) -> int:
    # Not "the last requests failed": an overloaded service still answers the first ones when the drain ends.
    good = ~run.failed
    last = int(run.completed_ns[good].max()) if good.any() else -1
    # Nor what was never sent: no service can answer that.
    return int(((run.issued_ns >= 0) & ((run.scheduled_ns > last) | ~good.any())).sum())


def _died(run: Run, least: int) -> Finding | None:
    if not died(run, least):
        return None
    tail, good = _after_the_last_answer(run), ~run.failed
    if not good.any():
        message = f"all {tail} requests failed ({_causes(run)})"
    else:
        at = (int(run.completed_ns[good].max()) - run.scheduled_ns[0]) / 1e9
        message = f"no good answer came after {at:.1f} s, although {tail} more requests were due ({_causes(run)})"
    return Finding("died", "service", message, tail, least, "see the end of the service's log")


def _saturated(run: Run) -> Finding | None:
    seen = saturation(run.latencies)
    if not seen.rising:
        return None
    message = (
        f"latency rises through the whole run: at its end, even the fastest requests wait {seen.growth:.0f} times as "
        f"long as in its quietest part. More requests arrive than are served, so percentiles depend on the run's length"
    )
    advice = "judge throughput and errors, or lower the rate to measure latencies"
    return Finding("saturated", "service", message, seen.growth, 3.0, advice)


def _errors(run: Run, limit: float) -> Finding | None:
    issued = len(run) - run.count(Failure.UNISSUED)
    failed = int(run.failed.sum()) - run.count(Failure.UNISSUED)
    if failed <= limit * issued:
        return None
    message = f"{failed} of {issued} requests failed ({_causes(run)})"
    advice = "see the service's log; failed requests rank as infinitely slow"
    return Finding("errors", "service", message, failed / issued, limit, advice)


def _causes(run: Run) -> str:
    counts = {cause: run.count(cause) for cause in Failure if cause is not Failure.NONE}
    named = sorted(((count, cause.name.lower()) for cause, count in counts.items() if count), reverse=True)
    return ", ".join(f"{count} {name}" for count, name in named)
