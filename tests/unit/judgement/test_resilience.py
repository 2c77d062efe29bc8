"""What a disruption cost: failures, outage and recovery of runs whose course is known, and budgets for them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_inferbench.disruption import DisruptionEvent, KillWorker
from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.resilience import Impact, Resilience, check_resilience, impact_of
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.runs.run import Failure, Run
from tests.unit.examples import INVALID, measurement

SECOND = 10**9
PROMISE = SLO(p95="100ms")
#: The clock of a run does not start at zero.
ORIGIN = 7 * SECOND


def disrupted(latency: NDArray[np.float64], *, failed: slice | None = None) -> Run:
    """A run of ten requests per second with these latencies (seconds)."""
    due = ORIGIN + np.arange(latency.size, dtype=np.int64) * SECOND // 10
    kinds = np.zeros(latency.size, np.uint8)
    if failed is not None:
        kinds[failed] = Failure.RESET
    return Run(
        scheduled_ns=due,
        issued_ns=due,
        completed_ns=due + (latency * SECOND).astype(np.int64),
        status=np.where(kinds, 0, 200),
        failure=kinds,
    )


def kill(*instants: float) -> tuple[DisruptionEvent, ...]:
    return tuple(
        DisruptionEvent(
            disruption=KillWorker(at=instant),
            began_ns=ORIGIN + round(instant * SECOND),
            ended_ns=ORIGIN + round(instant * SECOND),
            start_ns=ORIGIN,
            detail="",
        )
        for instant in instants
    )


def calm(requests: int = 200) -> NDArray[np.float64]:
    return np.full(requests, 0.02)


def test_the_recovery_ends_with_the_first_request_of_the_calm() -> None:
    """Requests due from 5 s to 8 s are late: back inside the SLO 3 s after the disruption."""
    latency = calm()
    latency[50:80] = 0.5
    impact = impact_of(disrupted(latency), kill(5), PROMISE)
    assert impact == Impact(requests=200, failed=0, outage=pytest.approx(0.58), recovery=3.0, lost=30)


def test_failed_requests_are_late_and_the_outage_lasts_from_answer_to_answer() -> None:
    """Two seconds of failures: the longest time without a good answer is theirs and one gap more."""
    impact = impact_of(disrupted(calm(), failed=slice(50, 70)), kill(5), PROMISE)
    assert (impact.failed, impact.lost, impact.recovery) == (20, 20, 2.0)
    assert impact.outage == pytest.approx(2.1)


def test_nothing_lost_is_a_recovery_of_zero() -> None:
    """A disruption that nobody notices costs nothing."""
    impact = impact_of(disrupted(calm()), kill(5), PROMISE)
    assert (impact.failed, impact.lost, impact.recovery) == (0, 0, 0.0)


def test_what_was_late_before_the_disruption_is_not_its_doing() -> None:
    """Late requests before the instant count neither as lost nor for the recovery."""
    latency = calm()
    latency[:30] = 0.5
    impact = impact_of(disrupted(latency), kill(5), PROMISE)
    assert (impact.lost, impact.recovery) == (0, 0.0)


def test_a_single_late_request_long_after_is_no_relapse() -> None:
    """A p95 allows some late requests; a lone one at 15 s does not move the recovery from 1 s."""
    latency = calm()
    latency[50:60] = 0.5
    latency[150] = 0.5
    impact = impact_of(disrupted(latency), kill(5), PROMISE)
    assert (impact.recovery, impact.lost) == (1.0, 11)


def test_a_relapse_counts() -> None:
    """Late from 5 s to 6 s and again from 10 s to 11 s: inside the SLO for good only at 11 s."""
    latency = calm()
    latency[50:60] = latency[100:110] = 0.5
    assert impact_of(disrupted(latency), kill(5), PROMISE).recovery == 6.0


@pytest.mark.parametrize("last", [200, 190])
def test_a_run_that_ends_too_early_never_recovered(last: int) -> None:
    """Late until the end, or calm for less than a whole stretch of 20 requests: infinite, not "at the end"."""
    latency = calm()
    latency[50:last] = 0.5
    assert impact_of(disrupted(latency), kill(5), PROMISE).recovery == math.inf


def test_several_disruptions_each_have_their_recovery_and_the_longest_counts() -> None:
    """One second after the first and four after the second: four; calm between them is no recovery of the second."""
    latency = calm()
    latency[50:60] = latency[100:140] = 0.5
    assert impact_of(disrupted(latency), kill(5, 10), PROMISE).recovery == 4.0


@pytest.mark.parametrize(("late", "recovery"), [(0, 0.0), (3, 3.0), (12, 12.0), (15, math.inf)])
def test_disruptions_in_quick_succession_are_one_trouble(late: int, recovery: float) -> None:
    """The second comes a second after the first, too soon to say that all is well: the recovery is from the first to
    when both are over, zero where nobody noticed either."""
    latency = calm()
    latency[50 : 50 + 10 * late] = 0.5
    assert impact_of(disrupted(latency), kill(5, 6), PROMISE).recovery == recovery


def test_every_percentile_of_the_slo_must_be_kept_again() -> None:
    """A p99 at 1 s and a p50 at 100 ms: the slower recovery counts."""
    latency = calm()
    latency[50:60] = 2.0
    latency[60:90] = 0.5
    impact = impact_of(disrupted(latency), kill(5), SLO(p50="100ms", p99="1s"))
    assert impact.recovery == pytest.approx(4.0)
    assert impact.lost == 10


@pytest.mark.parametrize(
    ("slo", "events", "said"),
    [(SLO(error_rate="1%"), kill(5), "latency objective"), (PROMISE, (), "nothing was disrupted")],
)
def test_what_cannot_be_asked(slo: SLO, events: tuple[DisruptionEvent, ...], said: str) -> None:
    """No latency objective, or no disruption: an error that says what to pass."""
    with pytest.raises(ValidationError, match=said):
        impact_of(disrupted(calm()), events, slo)


def impacts(*recoveries: float, failed: int = 4) -> list[Impact]:
    return [Impact(requests=100, failed=failed, outage=1.0, recovery=each, lost=failed) for each in recoveries]


@pytest.mark.parametrize(
    ("within", "outcome"), [("4s", Outcome.MET), ("1s", Outcome.MISSED), ("2.1s", Outcome.UNCERTAIN)]
)
def test_a_budget_is_met_if_the_whole_interval_is(within: str, outcome: Outcome) -> None:
    """Recoveries of about 2 s: within 4 s yes, within 1 s no, within 2.1 s cannot be told."""
    (check,) = check_resilience(impacts(1.8, 2.0, 2.1, 1.9, 2.2), Resilience(recovers_within=within))
    assert (check.outcome, check.metric, check.runs, check.n) == (outcome, "recovery", 5, 500)
    assert check.interval[0] < 2.0 < check.interval[1]


def test_limits_on_requests_are_numbers_or_shares() -> None:
    """Four failed of 100 per run: within "5%", beyond 3, and equal in every run is no doubt."""
    found = impacts(1, 1, 1)
    assert check_resilience(found, Resilience(max_failed="5%"))[0].outcome is Outcome.MET
    assert check_resilience(found, Resilience(max_failed=4))[0].outcome is Outcome.MET
    assert check_resilience(found, Resilience(max_failed=3))[0].outcome is Outcome.MISSED


def test_runs_that_never_recovered_leave_the_interval_open() -> None:
    """One of three: cannot be told, with the reason; all of them: missed."""
    (some,) = check_resilience(impacts(1, 2, math.inf), Resilience(recovers_within=5))
    assert (some.outcome, some.interval) == (Outcome.UNCERTAIN, (1, math.inf))
    assert some.reasons == ("1 of 3 runs ended before latencies were inside the SLO again",)
    (every,) = check_resilience(impacts(math.inf, math.inf), Resilience(recovers_within=5))
    assert every.outcome is Outcome.MISSED


def test_one_run_decides_nothing() -> None:
    """However good or bad it was, how much runs differ is not known from one."""
    (check,) = check_resilience(impacts(1), Resilience(recovers_within=100))
    assert check.outcome is Outcome.UNCERTAIN
    assert "at least two repeats" in check.reasons[0]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"max_failed": -1},
        {"max_failed": 0.5},
        {"max_failed": "many"},
        {"recovers_within": "soon"},
        {"max_lost": True},
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused(given: Any) -> None:
    """No limit at all, or one that cannot be read, is an error when the budget is written."""
    with pytest.raises(ValidationError, match="Resilience"):
        Resilience(**given)


def test_a_measurement_answers_with_a_verdict() -> None:
    """The verdict names the disruption in its subject and shows each limit; without disruptions it cannot be asked."""
    latency = calm()
    latency[50:80] = 0.5
    found = measurement(runs=(disrupted(latency),) * 3, events=(kill(5),) * 3)
    verdict = found.survives(Resilience(recovers_within="5s", max_failed=0, max_outage="200ms"), slo=PROMISE)
    assert (verdict.kind, verdict.outcome, verdict.passed) == ("resilience", Outcome.MISSED, False)
    assert "disrupted (KillWorker at 5.00 s, workers 1)" in verdict.subject
    assert "MET          recovery 3.00 s (3.00 s to 3.00 s), at most 5.00 s; n = 600 in 3 runs" in repr(verdict)
    assert "MET          failed 0.0 requests" in repr(verdict)
    assert "MISSED       outage 580 ms" in repr(verdict)
    with pytest.raises(ValidationError, match="nothing was disrupted"):
        measurement().survives(Resilience(max_failed=0), slo=PROMISE)


def test_a_disruption_that_did_not_come_about_is_invalid_and_no_error() -> None:
    """A failed measurement is a verdict, not as an exception from the figures that are missing."""
    undone = (replace(kill(5)[0], began_ns=None, ended_ns=None),)
    found = measurement(runs=(disrupted(calm()),), events=(undone,), findings=(INVALID,))
    assert found.survives(Resilience(max_failed=0), slo=PROMISE).outcome is Outcome.INVALID
