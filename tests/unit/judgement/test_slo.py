"""Service level objectives and whether runs met them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.slo import SLO, SloCheck
from pytest_inferbench.runs.run import Run
from tests.unit.examples import run


def _run(seed: int = 0, *, n: int = 400, rate: float = 40.0, scale: float = 0.05, failed: int = 0) -> Run:
    rng = np.random.default_rng(seed)
    due = (np.cumsum(rng.exponential(1 / rate, n)) * 1e9).astype(np.int64)
    latency = ((0.02 + rng.exponential(scale, n)) * 1e9).astype(np.int64)
    status = np.full(n, 200)
    status[rng.permutation(n)[:failed]] = 500
    return Run(due, due + 1000, due + latency, status, seed=seed, digest=str(seed))


def _only(runs: list[Run], **slo: float | str) -> SloCheck:
    (check,) = SLO(**slo).check(runs)
    return check


def test_quantities_are_read_with_their_units() -> None:
    """Units as people write them end up as seconds, fractions and per second."""
    slo = SLO(p95="250ms", p99=1, error_rate="0.1%", throughput="40/s")
    assert slo.limits == {"p95": 0.25, "p99": 1.0, "error_rate": 0.001, "throughput": 40.0}


def test_repr_is_as_written() -> None:
    """The report shows the objective in the words of its author."""
    assert repr(SLO(p95="250ms", error_rate=0.01)) == "SLO(p95='250ms', error_rate=0.01)"


@pytest.mark.parametrize(
    ("slo", "message"),
    [
        ({}, "at least one objective"),
        ({"p95": "fast"}, r"SLO\(p95=...\)"),
        ({"p95": 0}, "greater than zero"),
        ({"error_rate": "120%"}, "between 0 and 1"),
        ({"throughput": -1}, "greater than zero"),
        ({"p50": "2s", "p95": "1s"}, "stricter than p50"),
    ],
)
def test_objectives_that_cannot_be_meant_are_refused(slo: dict[str, object], message: str) -> None:
    """A misread limit is found when it is written, not when it passes."""
    with pytest.raises(ValidationError, match=message):
        SLO(**slo)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("metric", ["p50", "p90", "p95", "p99"])
def test_a_percentile_far_from_its_limit_is_met_or_missed(metric: str, count: int) -> None:
    """With room on either side, one run and several agree, and the interval holds the estimate."""
    runs = [_run(seed, n=1200) for seed in range(count)]
    met, missed = _only(runs, **{metric: "2s"}), _only(runs, **{metric: "10ms"})
    assert (met.outcome, missed.outcome) == (Outcome.MET, Outcome.MISSED)
    assert met.interval[0] <= met.estimate <= met.interval[1] < met.limit
    assert (met.n, met.runs) == (1200 * count, count)


@pytest.mark.parametrize("count", [1, 5])
def test_a_limit_inside_the_interval_is_uncertain(count: int) -> None:
    """A limit at the estimate is neither met nor missed, and the reason says what would help."""
    runs = [_run(seed) for seed in range(count)]
    estimate = _only(runs, p95="1s").estimate
    check = _only(runs, p95=estimate * 1.001)
    assert check.outcome is Outcome.UNCERTAIN
    assert "narrow" in check.reasons[0]


def test_the_outcome_is_what_the_interval_says() -> None:
    """At any limit: MET exactly where it lies wholly within, MISSED where wholly beyond."""
    runs = [_run(seed, n=120) for seed in range(5)]
    seen = set()
    for limit in np.geomspace(0.02, 1.0, 60):
        check = _only(runs, p95=float(limit))
        seen.add(check.outcome)
        assert (check.outcome is Outcome.MET) == (check.interval[1] <= limit)
        assert (check.outcome is Outcome.MISSED) == (check.interval[0] > limit)
    assert seen == {Outcome.MET, Outcome.MISSED, Outcome.UNCERTAIN}


def test_too_few_requests_never_meet_a_percentile() -> None:
    """p99 of 5 runs of 90 fast requests, as shipped, is not claimed: 450 are enough together, but not in each run.

    The reason says how much longer a run must be.
    """
    for runs in ([_run(n=90)], [_run(seed, n=90) for seed in range(5)]):
        check = _only(runs, p99="10s")
        assert check.outcome is Outcome.UNCERTAIN
        assert check.interval[1] == math.inf
        assert "299 requests in each run, got 90" in check.reasons[0]
        assert "3.3 times" in check.reasons[0]


def test_few_requests_can_miss_a_percentile() -> None:
    """That all of 24 requests a run are too slow shows that more than 5 % are."""
    check = _only([_run(seed, n=24) for seed in range(5)], p95="10ms")
    assert check.outcome is Outcome.MISSED
    assert "59 requests in each run, got 24" in check.reasons[0]


def test_a_percentile_at_its_limit_is_not_met_because_runs_are_short() -> None:
    """The limit at the true p95 of exponential latencies, 5 runs of 90: MET in at most 7.5 % of 400 measurements."""
    rng = np.random.default_rng(8)
    true = -math.log(0.05)
    slo = SLO(p95=true)
    outcomes = [slo.check(list(rng.exponential(size=(5, 90))))[0].outcome for _ in range(400)]
    assert outcomes.count(Outcome.MET) / 400 <= 0.075
    assert outcomes.count(Outcome.MISSED) / 400 <= 0.075


def test_slow_requests_in_one_boot_leave_it_open() -> None:
    """1 in 25 requests is too slow, of p95 that is within; but all of them fell into one of five boots."""
    rng = np.random.default_rng(9)
    even, uneven = (
        [np.where(rng.random(300) < share, 2.0, 0.1) for share in shares] for shares in ([0.02] * 5, [0.1, 0, 0, 0, 0])
    )
    assert SLO(p95="1s").check(even)[0].outcome is Outcome.MET
    (check,) = SLO(p95="1s").check(uneven)
    assert check.outcome is Outcome.UNCERTAIN
    assert "count as" in check.reasons[0]


def test_latencies_are_checked_as_runs_are() -> None:
    """Arrays in seconds, a bare one, and a 2-D one give the check of the runs; the answer is repeatable."""
    runs = [_run(seed) for seed in range(3)]
    slo = SLO(p50="100ms", p95="200ms", error_rate="2%")
    arrays = [run.latencies for run in runs]
    assert slo.check(runs) == slo.check(arrays) == slo.check(np.array(arrays)) == slo.check(runs)
    assert slo.check(runs[0]) == slo.check(runs[0].latencies) == slo.check([runs[0]])


def test_what_cannot_be_runs_is_refused() -> None:
    """Throughput of arrays, NaN, single values and text: said at once, and of what."""
    with pytest.raises(ValidationError, match="throughput needs Run objects"):
        SLO(throughput="1/s").check([np.ones(100)])
    with pytest.raises(ValidationError, match=r"run 1 of the measurement.*NaN"):
        SLO(p95="1s").check([np.array([1.0, math.nan])])
    with pytest.raises(ValidationError, match="sequence of single values"):
        SLO(p95="1s").check([1.0, 2.0])
    with pytest.raises(ValidationError, match="must be a sequence of runs"):
        SLO(p95="1s").check("runs")


def test_an_error_rate_needs_enough_requests_without_errors() -> None:
    """No error among 400 does not show 0.1 %, but does show 2 %; many errors miss it."""
    clean = _only([_run()], error_rate="0.1%")
    assert clean.outcome is Outcome.UNCERTAIN
    assert "2995" in clean.reasons[0]
    assert _only([_run()], error_rate="2%").outcome is Outcome.MET
    assert _only([_run(failed=40)], error_rate="2%").outcome is Outcome.MISSED
    assert _only([_run(s, failed=40) for s in range(5)], error_rate="2%").outcome is Outcome.MISSED


def test_failures_make_a_percentile_miss() -> None:
    """With a tenth of the requests failed in every run p95 is infinite, and so missed."""
    for count in (1, 4):
        check = _only([_run(s, failed=60) for s in range(count)], p95="10s")
        assert check.outcome is Outcome.MISSED
        assert check.estimate == math.inf


def test_throughput_is_a_lower_limit() -> None:
    """40 a second offered: 20 is met, 80 is missed."""
    for count in (1, 5):
        runs = [_run(s) for s in range(count)]
        assert _only(runs, throughput="20/s").outcome is Outcome.MET
        assert _only(runs, throughput="80/s").outcome is Outcome.MISSED


def test_a_rising_latency_does_not_meet_a_percentile() -> None:
    """The p95 of a saturated run describes its length: a longer run would have missed the same limit."""
    run = _run()
    ramp = np.linspace(0, 3e9, 400).astype(np.int64)
    saturated = Run(run.scheduled_ns, run.issued_ns, run.completed_ns + ramp, run.status)
    check = _only([saturated], p95="60s")
    assert check.outcome is Outcome.UNCERTAIN
    assert "still rises" in check.reasons[0]


def test_nothing_measured_is_invalid() -> None:
    """No request is no result."""
    assert _only([], p95="1s").outcome is Outcome.INVALID
    assert _only([_run(n=0)], p95="1s").outcome is Outcome.INVALID


def test_checks_come_in_the_order_of_the_objectives() -> None:
    """One check per objective given, none for the others."""
    checks = SLO(throughput="20/s", p50="1s", error_rate="2%").check([_run()])
    assert [check.metric for check in checks] == ["p50", "error_rate", "throughput"]


def test_a_bad_alpha_is_refused() -> None:
    """A level of one half or more bounds nothing."""
    with pytest.raises(ValidationError, match="alpha"):
        SLO(p50="1s").check([_run()], alpha=0.5)


def test_the_checks_of_an_slo_have_no_truth_value() -> None:
    """A tuple that holds a MISSED check would be true: an assert of it must not pass."""
    checks = SLO(p50="1ms").check([np.full(100, 90.0)] * 3)
    assert [check.outcome for check in checks] == [Outcome.MISSED]
    with pytest.raises(TypeError, match="p50 MISSED"):
        assert checks


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_service_that_died_in_its_runs_misses_its_limits(count: int) -> None:
    """Failures at the end of every run are one event each, but that the service was gone leaves nothing to doubt."""
    dead = [run(seed=seed, n=82, failed=43) for seed in range(count)]
    checks = SLO(p95="1s", error_rate="1%").check(dead)
    assert [check.outcome for check in checks] == [Outcome.MISSED, Outcome.MISSED]


def test_a_service_that_died_once_in_five_runs_is_not_known_to_miss_its_limit() -> None:
    """One boot of five that ended early says that something is wrong, not how often."""
    runs = [run(seed=seed, n=400, failed=100 * (seed == 0)) for seed in range(5)]
    (check,) = SLO(error_rate="1%").check(runs)
    assert check.outcome is Outcome.UNCERTAIN
