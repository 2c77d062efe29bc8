"""When a run says nothing about the service, and what it says besides percentiles."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.validity import Finding, examine
from pytest_inferbench.runs.run import Run


def _run(n: int = 400, *, delay: float = 0.0001, latency: float = 0.1, **changes: np.ndarray) -> Run:
    due = (np.arange(n) * 25_000_000).astype(np.int64)
    rng = np.random.default_rng(1)
    facts = {
        "issued_ns": due + int(delay * 1e9),
        "completed_ns": due + (latency * 1e9 * rng.uniform(0.8, 1.2, n)).astype(np.int64),
        "status": np.full(n, 200),
    }
    return Run(due, **{**facts, **changes})  # type: ignore[arg-type]


def _found(run: Run, **limits: float) -> dict[str, Finding]:
    return {finding.rule: finding for finding in examine(run, **limits)}  # type: ignore[arg-type]


def test_a_clean_run_has_no_findings() -> None:
    """Nothing is reported where nothing is wrong."""
    assert examine(_run()) == ()


def test_late_issues_make_a_run_invalid_relative_to_the_latency() -> None:
    """40 ms late is too late for a service of 100 ms, not for one of a second, and noise of 1 ms never is."""
    finding = _found(_run(delay=0.04))["issue-delay"]
    assert finding.kind == "invalid"
    assert finding.value > finding.limit
    assert finding.message.startswith("the load generator sent requests late")
    assert not examine(_run(delay=0.04, latency=1.0))
    assert not examine(_run(delay=0.001, latency=0.0015))
    assert _found(_run(delay=0.04), issue_delay=0.9, median_delay=0.9) == {}


def test_a_late_tail_is_held_against_the_tail_of_the_latency() -> None:
    """Where the service takes every core, a late request among slow ones is no reason to void the run."""
    run = _run()
    issued, completed = run.issued_ns.copy(), run.completed_ns.copy()
    issued[:30] += 30_000_000
    assert "the p95 of its delay" in _found(_run(issued_ns=issued))["issue-delay"].message
    completed[100:140] += 300_000_000
    assert not examine(_run(issued_ns=issued, completed_ns=completed))


def test_a_few_late_requests_are_tolerated() -> None:
    """Three late requests of 400 move no percentile that is judged."""
    run = _run()
    issued = run.issued_ns.copy()
    issued[:3] += 60_000_000
    assert not examine(_run(issued_ns=issued))


def test_unissued_requests_make_a_run_invalid() -> None:
    """Two unissued of 400 are over 0.1 %: the load was not the one planned; they are not errors of the service."""
    run = _run()
    issued, completed = run.issued_ns.copy(), run.completed_ns.copy()
    issued[5:7] = completed[5:7] = -1
    found = _found(_run(issued_ns=issued, completed_ns=completed))
    assert found.keys() == {"issued-rate"}
    assert found["issued-rate"].value == pytest.approx(0.005)


@pytest.mark.parametrize("n", [0, 1, 19])
def test_hardly_any_requests_measure_nothing(n: int) -> None:
    """Fewer than 20 requests are no measurement, and none at all are no crash."""
    assert _found(_run(n))["too-few-samples"].kind == "invalid"


def test_errors_are_counted_and_named() -> None:
    """Every failed request is reported as a result, with its kind."""
    status = np.full(400, 200)
    status[[3, 77]] = 503
    finding = _found(_run(status=status))["errors"]
    assert finding.kind == "service"
    assert "2 of 400 requests failed (2 status)" in finding.message
    assert _found(_run(status=status), error_rate=0.01) == {}


def test_a_service_that_died_is_a_result_with_its_time() -> None:
    """All failing from half way on is named with the moment; all failing from the start too."""
    status = np.full(400, 200)
    status[200:] = 0
    finding = _found(_run(status=status))["died"]
    assert finding.kind == "service"
    assert "no good answer came after 5.1 s, although 197 more" in finding.message
    assert "all 400" in _found(_run(status=np.zeros(400)))["died"].message
    status[-1] = 200
    assert "died" not in _found(_run(status=status))


def test_an_overloaded_service_is_not_dead() -> None:
    """Requests that the end of the drain cut off do not count as death while answers to earlier ones still came."""
    run = _run()
    completed = run.scheduled_ns + np.arange(400) * 50_000_000
    completed[completed > run.scheduled_ns[-1] + 5_000_000_000] = -1
    status = np.where(completed < 0, 0, 200)
    assert "died" not in _found(_run(completed_ns=completed, status=status))


def test_requests_that_never_left_are_no_death() -> None:
    """A generator that stopped half way says nothing about the service, however many requests then have no answer."""
    run = _run()
    issued, completed = run.issued_ns.copy(), run.completed_ns.copy()
    issued[200:] = completed[200:] = -1
    assert _found(_run(issued_ns=issued, completed_ns=completed)).keys() == {"issued-rate"}


def test_a_saturated_service_is_a_result() -> None:
    """Latency that climbs to the end of the run is reported as saturation."""
    run = _run()
    ramp = np.linspace(0, 5e9, 400).astype(np.int64)
    finding = _found(_run(completed_ns=run.completed_ns + ramp))["saturated"]
    assert finding.kind == "service"
    assert finding.value > 3


def test_invalid_findings_come_first() -> None:
    """What voids the run is read before what it would have said."""
    status = np.full(400, 200)
    status[9] = 500
    kinds = [finding.kind for finding in examine(_run(delay=0.05, status=status))]
    assert kinds == ["invalid", "service"]


def test_negative_limits_are_refused() -> None:
    """A limit below zero would call everything invalid."""
    with pytest.raises(ValidationError, match="unissued"):
        examine(_run(), unissued=-0.1)
