"""What a disruption cost, run by run, and whether that stayed within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pytest_inferbench.disruption import DisruptionEvent
from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.estimate import PERCENTILES
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.slo import SLO, SloCheck
from pytest_inferbench.runs.run import Run
from pytest_inferbench.stats.paired import mean_of_values
from pytest_inferbench.units import parse_fraction, parse_seconds

__all__ = ["Impact", "Resilience", "check_resilience", "impact_of", "outage_of"]

#: A stretch of so many successive requests is what is held to the SLO again.
STRETCH = 20
#: Of stretches that are within the SLO, one in so many has more late requests than that is taken to allow.
_CHANCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Resilience:
    """A budget for what a disruption may cost one run, on average over the runs; at least one limit.

    ``max_failed``: requests without a good answer, as a number, or ``"2%"`` of all requests. ``max_outage``: the
    longest time without a good answer. ``recovers_within``: from the disruption until latencies are inside the SLO
    again. ``max_lost``: requests that were not answered well within the SLO's latency, as ``max_failed``.
    """

    max_failed: int | str | None = None
    max_outage: float | str | None = None
    recovers_within: float | str | None = None
    max_lost: int | str | None = None

    def __post_init__(self) -> None:
        if all(limit is None for limit in (self.max_failed, self.max_outage, self.recovers_within, self.max_lost)):
            raise ValidationError('Resilience needs at least one limit, as in Resilience(recovers_within="10s")')
        self.limits(requests=1.0)

    def limits(self, *, requests: float) -> dict[str, float]:
        """Return the limits that were given by metric, for runs of ``requests``: requests per run, and seconds."""
        given: dict[str, float] = {}
        for metric, count in (("failed", self.max_failed), ("lost", self.max_lost)):
            if count is not None:
                given[metric] = _count(count, requests, what=f"Resilience(max_{metric}=...)")
        for metric, name in (("outage", "max_outage"), ("recovery", "recovers_within")):
            seconds = getattr(self, name)
            if seconds is not None:
                given[metric] = parse_seconds(seconds, what=f"Resilience({name}=...)")
        return given


def _count(value: int | str, requests: float, *, what: str) -> float:
    if isinstance(value, str) and value.strip().endswith("%"):
        return parse_fraction(value, what=what) * requests
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValidationError(f'{what}: expected a number of requests, or "2%" of them, got {value!r}')
    return float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """What one run lost. ``failed``, ``lost``: requests, of ``requests`` in all. ``outage``, ``recovery``: seconds.

    ``lost``: the failed ones, and what was due since the first disruption and came later than the SLO's longest
    limit. ``recovery`` is the longest over the disruptions, inf if the run ended before. One that comes before the
    recovery from another is over belongs to it.
    """

    requests: int
    failed: int
    outage: float
    recovery: float
    lost: int


def impact_of(run: Run, events: Sequence[DisruptionEvent], slo: SLO) -> Impact:
    """Return what ``events`` cost ``run``, measured by the latency objectives of ``slo``.

    A recovery begins with the disruption and ends when the first request is due from which on every stretch of 20
    successive ones keeps each percentile: no more of them late than 20 requests of a service that just meets it have
    in 99 of 100 cases (binomial), so that the late ones which the SLO itself allows are no relapse. At least one
    whole stretch must follow. Raises ValidationError for an SLO without a percentile, or a run without a disruption.
    """
    limits = {PERCENTILES[metric]: limit for metric, limit in slo.limits.items() if metric in PERCENTILES}
    if not limits:
        raise ValidationError('what recovery means is said by a latency objective, as in SLO(p95="250ms")')
    began = sorted(event.began_ns for event in events if event.began_ns is not None)
    if not began or not len(run):
        raise ValidationError("nothing was disrupted in this run: pass disruptions=[...] to measure")
    due, latencies = run.scheduled_ns, run.latencies
    late = (latencies > max(limits.values())) & (due >= began[0])
    return Impact(
        requests=len(run),
        failed=int(run.failed.sum()),
        outage=outage_of(run),
        recovery=max(_longest(due, latencies > limit, began, share=1 - p) for p, limit in limits.items()),
        lost=int((late | run.failed).sum()),
    )


def _longest(due: NDArray[np.int64], late: NDArray[np.bool_], began: Sequence[int], *, share: float) -> float:
    """Return the longest recovery (s) from the disruptions that began at these instants (ns)."""
    ends = [*began[1:], int(due[-1]) + 1]
    longest, first = 0.0, 0
    while first < len(began):
        for last in range(first, len(began)):
            recovery = _recovery(due, late, began[first], ends[last], share=share)
            if math.isfinite(recovery):
                break  # otherwise the next one came before it was over: both are one trouble
        longest = max(longest, recovery)
        first = last + 1
    return longest


def _recovery(due: NDArray[np.int64], late: NDArray[np.bool_], start: int, end: int, *, share: float) -> float:
    """Return the seconds from ``start`` until the requests due before ``end`` (ns) are inside the SLO for good."""
    chosen = (due >= start) & (due < end)
    times, missed = due[chosen], late[chosen]
    if times.size < STRETCH:
        return math.inf
    totals = np.convolve(missed, np.ones(STRETCH, np.int64), "valid")
    (beyond,) = np.nonzero(totals > _allowed(share))
    if not beyond.size:
        return 0.0
    # The last stretch that was not inside ends the trouble with its last late request.
    stretch = missed[beyond[-1] : beyond[-1] + STRETCH]
    resumed = int(beyond[-1] + np.nonzero(stretch)[0][-1] + 1)
    return math.inf if resumed + STRETCH > times.size else int(times[resumed] - start) / 1e9


def _allowed(share: float) -> int:
    """Return how many of a stretch may be late where each is with probability ``share``."""
    return next(k for k in range(STRETCH + 1) if special.bdtrc(k, STRETCH, share) <= 1 / _CHANCE)


def outage_of(run: Run) -> float:
    """Return the longest time (s), from the first due request to the last one, in which no good answer came."""
    first, last = int(run.scheduled_ns[0]), int(run.scheduled_ns[-1])
    good = np.sort(run.completed_ns[~run.failed])
    inside = good[(good > first) & (good < last)]
    return float(np.diff(np.concatenate([[first], inside, [last]])).max()) / 1e9


def check_resilience(impacts: Sequence[Impact], budget: Resilience, *, alpha: float = 0.05) -> tuple[SloCheck, ...]:
    """Hold the mean over the runs to each limit of ``budget``: MET or MISSED if the whole interval is on one side.

    The interval is Student's t over one figure per run, two-sided 1 - 2 alpha; where all runs agree it is that
    figure. A run that never recovered counts as infinite: the estimate is then the median, the interval open above.
    """
    if not isinstance(budget, Resilience):
        raise ValidationError(f"expected a Resilience, got {budget!r}")
    if not impacts:
        raise ValidationError("nothing was disrupted: pass disruptions=[...] to measure")
    requests = sum(impact.requests for impact in impacts)
    limits = budget.limits(requests=requests / len(impacts))
    figures: dict[str, Callable[[Impact], float]] = {
        "failed": lambda impact: impact.failed,
        "outage": lambda impact: impact.outage,
        "recovery": lambda impact: impact.recovery,
        "lost": lambda impact: impact.lost,
    }
    return tuple(
        _check(metric, [float(figures[metric](impact)) for impact in impacts], limit, requests, alpha)
        for metric, limit in limits.items()
    )


def _check(metric: str, values: list[float], limit: float, requests: int, alpha: float) -> SloCheck:
    reasons: tuple[str, ...] = ()
    never = sum(not math.isfinite(value) for value in values)
    if never:
        estimate, low, high = float(np.median(values)), min(values), math.inf
        reasons = (f"{never} of {len(values)} runs ended before latencies were inside the SLO again",)
    else:
        mean = mean_of_values(np.array(values))
        low, high = mean.interval(alpha)
        estimate, low, high = mean.mean, max(0.0, low), high + 0.0  # not -0.0
    if len(values) < 2:
        reasons += ("one run does not say how much the next one may differ: at least two repeats",)
    if high <= limit and len(values) > 1:
        outcome = Outcome.MET
    elif low > limit and len(values) > 1:
        outcome = Outcome.MISSED
    else:
        outcome = Outcome.UNCERTAIN
        reasons = reasons or (f"the interval over {len(values)} runs holds the limit; more repeats would narrow it",)
    return SloCheck(metric, outcome, estimate, (low, high), limit, requests, len(values), reasons)
