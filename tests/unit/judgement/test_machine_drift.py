"""A machine that changed since the baseline was recorded: which verdicts stand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_inferbench.judgement.machine_drift import Drift, allow_for, drift
from pytest_inferbench.judgement.measurement import Measurement, Reference
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.runs.run import Run
from pytest_inferbench.runs.usage import Resources, ServiceUsage
from tests.unit.examples import measurement, run, runs

PASS, REGRESSED, IMPROVED, INCONCLUSIVE = Outcome.PASS, Outcome.REGRESSED, Outcome.IMPROVED, Outcome.INCONCLUSIVE


def paced(made: tuple[Run, ...], pace: float) -> tuple[Run, ...]:
    """The runs beside which the machine took about ``pace`` milliseconds, each time a little more or less."""
    return tuple(replace(r, pace_ns=int(pace * (1e6 + 5e3 * (-1) ** k))) for k, r in enumerate(made))


def stored(factor: float, pace: float | None, *, is_stored: bool = True) -> Measurement:
    """Runs that take ``factor`` as long as the baseline's, on a machine whose computation takes ``pace`` as long."""
    made = runs(factor=factor)
    before = paced(runs(factor=1.001), 20)
    reference = Reference(label="baseline 2026-01-01", runs=before, stored=is_stored)
    return measurement(runs=made if pace is None else paced(made, 20 * pace), reference=reference)


@pytest.mark.parametrize(
    ("factor", "pace", "outcome"),
    [
        pytest.param(1.3, 1.0, REGRESSED, id="slower, the machine is as it was"),
        pytest.param(1.3, None, REGRESSED, id="slower, the machine's pace was not recorded"),
        pytest.param(1.3, 0.8, REGRESSED, id="slower on a faster machine"),
        pytest.param(1.3, 1.2, INCONCLUSIVE, id="slower on a slower machine"),
        pytest.param(3.0, 1.2, REGRESSED, id="slower than a queue makes of that machine"),
        pytest.param(1.0, 1.2, PASS, id="as fast on a slower machine"),
        pytest.param(0.7, 1.2, IMPROVED, id="faster on a slower machine"),
        pytest.param(1.0, 0.8, INCONCLUSIVE, id="as fast on a faster machine"),
        pytest.param(0.8, 0.8, PASS, id="faster by what the machine is"),
        pytest.param(0.5, 0.8, IMPROVED, id="faster by more than the machine is"),
        pytest.param(1.0, 0.98, PASS, id="the machine is faster by less than the margin"),
    ],
)
def test_what_the_machine_may_explain_is_not_decided(factor: float, pace: float | None, outcome: Outcome) -> None:
    """Neither is a slow hour called a regression, nor does a fast one hide one; the rest stands."""
    assert stored(factor, pace).has_not_regressed(metrics=["p50"]).outcome is outcome


def test_the_verdict_says_so_and_what_to_do() -> None:
    """How much the machine changed, up to what that explains, and that more pairs are of no use."""
    verdict = stored(1.3, 1.2).has_not_regressed(metrics=["p50"])
    said = " ".join(repr(verdict).split())
    assert "p50: the machine takes x1.200 to x1.200 as long now: that may explain up to x2.1" in said
    assert "To decide: compare in one session (--against)" in said
    assert verdict.passed


def test_a_machine_that_changed_is_a_finding() -> None:
    """Slower or faster beyond doubt, with the ratio and the way out; nothing where it may be as it was."""
    (slower,) = Drift(1.2, (1.1, 1.3), 5).findings
    assert (slower.kind, slower.rule, slower.value) == ("machine", "machine", 1.2)
    assert "slower than when the baseline was recorded" in slower.message
    assert "x1.200 (1.100 to 1.300)" in slower.message
    assert "--against" in slower.recommendation
    (faster,) = Drift(0.9, (0.85, 0.95), 5).findings
    assert "faster than when" in faster.message
    assert Drift(1.1, (0.9, 1.3), 5).findings == ()


@pytest.mark.parametrize(("pace", "outcome"), [(1.4, REGRESSED), (1.6, INCONCLUSIVE)])
def test_saturation_may_be_the_machines_only_if_it_lost_what_there_was_to_spare(pace: float, outcome: Outcome) -> None:
    """Every run fails: that a machine which takes 1.4 times as long explains it is out of the question, not so 1.6."""
    failing = paced(tuple(run(seed=k, failed=300) for k in range(5)), 20 * pace)
    reference = Reference(label="baseline", runs=paced(runs(), 20), stored=True)
    verdict = measurement(runs=failing, reference=reference).has_not_regressed(metrics=["p50"])
    assert verdict.outcome is outcome
    assert ("may explain any slowdown" in " ".join(repr(verdict).split())) == (outcome is INCONCLUSIVE)


@pytest.mark.parametrize(("factor", "outcome"), [(1.12, INCONCLUSIVE), (1.4, REGRESSED)])
def test_a_pace_that_is_not_known_well_convicts_nobody_of_a_little(factor: float, outcome: Outcome) -> None:
    """The machine may be as it was, or 5 % slower: what a queue makes of 5 % is no regression yet."""
    measured, before = runs(factor=factor), paced(runs(factor=1.001), 20)
    wavering = [20.0, 20.8, 19.6, 20.9, 19.7]
    after = tuple(replace(r, pace_ns=int(1e6 * pace)) for r, pace in zip(measured, wavering, strict=True))
    reference = Reference(label="baseline 2026-01-01", runs=before, stored=True)
    assert measurement(runs=measured, reference=reference).has_not_regressed(metrics=["p50"]).outcome is REGRESSED
    assert measurement(runs=after, reference=reference).has_not_regressed(metrics=["p50"]).outcome is outcome


def test_sides_in_turns_share_the_machine() -> None:
    """Where both sides were measured in one session nothing is allowed for."""
    verdict = stored(1.3, 1.2, is_stored=False).has_not_regressed(metrics=["p50"])
    assert verdict.outcome is REGRESSED


def test_a_cost_curve_is_treated_alike() -> None:
    """Its classes of sizes are held against the machine's change like any percentile."""
    sizes = [10, 40, 90, 200] * 100
    before = tuple(replace(r, sizes=sizes) for r in paced(runs(factor=1.001), 20))
    after = tuple(replace(r, sizes=sizes) for r in paced(runs(factor=1.4), 24))
    reference = Reference(label="baseline 2026-01-01", runs=before, stored=True)
    verdict = measurement(runs=after, reference=reference).curve_has_not_regressed()
    assert verdict.outcome is INCONCLUSIVE


def test_throughput_is_better_when_it_is_higher() -> None:
    """A lower throughput on a slower machine is not decided."""
    slower = stored(1.3, 1.2).has_not_regressed(metrics=["p50"]).checks[0]
    lower = replace(slower, metric="throughput", outcome=REGRESSED, interval=(0.7, 0.8), drifted=False)  # type: ignore[type-var]
    much = replace(lower, interval=(0.2, 0.3))
    found = allow_for([lower, much], Drift(1.2, (1.19, 1.21), 5))  # type: ignore[list-item]
    assert [check.outcome for check in found] == [INCONCLUSIVE, REGRESSED]


def test_failures_are_not_the_machines() -> None:
    """An error rate that rose stays a regression, on whatever machine."""
    failing = tuple(run(seed=k, failed=80) for k in range(5))
    slow = measurement(
        runs=paced(failing, 24), reference=Reference(label="baseline", runs=paced(runs(), 20), stored=True)
    )
    assert slow.has_not_regressed(metrics=["error_rate"]).outcome is REGRESSED


@pytest.mark.parametrize(
    ("milliseconds", "known"), [pytest.param(30, True, id="it computes"), pytest.param(1, False, id="it waits")]
)
def test_a_service_that_hardly_computes_is_not_the_machines(milliseconds: float, known: bool) -> None:
    """Of a usual 55 ms, 1 ms of CPU time per answer cannot be what a slower machine made longer; 30 ms can."""
    used = ServiceUsage(cpu_seconds=400 * milliseconds / 1000, peak_rss_bytes=1, processes=1, context_switches=1)
    after = paced(runs(factor=1.3, resources=Resources(service=used)), 24)
    assert (drift(paced(runs(), 20), after, alpha=0.05) is not None) == known


def test_one_pair_says_nothing() -> None:
    """A single run on a side has no spread to judge by."""
    assert drift(paced(runs(1), 20), paced(runs(1), 40), alpha=0.05) is None
    assert drift(runs(5), paced(runs(5), 40), alpha=0.05) is None
