"""The questions that a test asks of a measurement, and which answers let it pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.measurement import Measurement, Policy, Reference
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.slo import SLO
from tests.unit.examples import INVALID, SERVICE, measurement, runs

PROMISE = SLO(p95="1s", error_rate="1%")
BROKEN = SLO(p95="1ms")


def against(factor: float, **reference: object) -> Measurement:
    """A measurement whose runs take ``factor`` times as long as those of its reference."""
    facts = {"label": "profile baseline", "runs": runs(factor=1.001), **reference}
    return measurement(runs=runs(factor=factor), reference=Reference(**facts))  # type: ignore[arg-type]


def test_an_slo_that_is_met_and_one_that_is_missed() -> None:
    """The verdict's truth is that of the limits, and its subject names workload and profile."""
    assert measurement().meets(PROMISE).outcome is Outcome.MET
    missed = measurement().meets(BROKEN)
    assert (missed.outcome, missed.passed) == (Outcome.MISSED, False)
    assert missed.subject == "steady under profile optimized"


@pytest.mark.parametrize(
    ("factor", "outcome"), [(1.0, Outcome.PASS), (1.3, Outcome.REGRESSED), (0.7, Outcome.IMPROVED)]
)
def test_the_runs_are_held_against_those_of_the_reference(factor: float, outcome: Outcome) -> None:
    """Slower fails, equal and faster pass, and the subject says against what."""
    verdict = against(factor).has_not_regressed(metrics=["p50"])
    assert verdict.outcome is outcome
    assert verdict.passed == (factor <= 1)
    assert verdict.subject == "steady under profile optimized, against profile baseline"


def test_the_margin_is_what_is_tolerated() -> None:
    """30 % slower is no regression with a margin of 60 %, whether as text or as a number."""
    slower = against(1.3)
    assert slower.has_not_regressed(metrics=["p50"], margin="60%").outcome is Outcome.PASS
    assert slower.has_not_regressed(metrics=["p50"], margin=0.6).outcome is Outcome.PASS
    with pytest.raises(ValidationError, match="margin"):
        slower.has_not_regressed(margin="5 percent")


def test_the_metrics_of_one_call_are_one_family() -> None:
    """Several metrics carry p-values that are adjusted for their number, one alone does not."""
    family = against(1.3).has_not_regressed(metrics=("p50", "p95", "error_rate")).checks
    assert [check.metric for check in family] == ["p50", "p95", "error_rate"]
    assert all(check.adjusted_p is not None for check in family)  # type: ignore[union-attr]
    (alone,) = against(1.3).has_not_regressed(metrics=("p50",)).checks
    assert alone.adjusted_p is None  # type: ignore[union-attr]


def test_nothing_is_judged_where_the_examiner_failed() -> None:
    """One invalid run makes every verdict INVALID, without figures, with the rule and what to do."""
    voided = replace(against(1.0), findings=(SERVICE, INVALID))
    for verdict in (voided.meets(PROMISE), voided.has_not_regressed()):
        assert (verdict.outcome, verdict.checks, verdict.passed) == (Outcome.INVALID, (), False)
        assert "issue-delay: it left 80 ms late; lower the rate" in verdict.reasons
    assert voided.comparisons(["p50"]) == ()


def test_what_the_service_did_is_told_but_judged_by_the_figures() -> None:
    """A finding about the service is a reason in the verdict, once, and does not void it."""
    found = measurement(findings=(SERVICE, SERVICE))
    verdict = found.meets(PROMISE)
    assert found.valid
    assert verdict.outcome is Outcome.MET
    assert verdict.reasons == ("died: every one of the last 40 requests failed; see the log",)


@pytest.mark.parametrize(
    ("policy", "passes"),
    [
        (Policy(), True),
        (Policy(missing_fails=True), False),
        (Policy(strict=True), False),
        (Policy(missing_fails=True, updating=True), True),
    ],
)
def test_no_reference_is_no_baseline(policy: Policy, passes: bool) -> None:
    """The reason is shown; whether it fails is the policy's business, and recording the first one never fails."""
    verdict = measurement(policy=policy).has_not_regressed()
    assert (verdict.outcome, verdict.passed) == (Outcome.NO_BASELINE, passes)
    assert verdict.reasons == ("no baseline of t.py::test_x; record one",)


def test_an_slo_needs_no_reference() -> None:
    """A missing baseline, even where it fails, says nothing about an SLO."""
    assert measurement(policy=Policy(missing_fails=True, strict=True)).meets(PROMISE).outcome is Outcome.MET


def test_alpha_is_that_of_the_policy() -> None:
    """A smaller error rate widens every interval."""
    wide, narrow = (replace(against(1.0), policy=Policy(alpha=alpha)) for alpha in (0.001, 0.2))
    for ask in (lambda m: m.comparisons(["p50"])[0], lambda m: m.meets(PROMISE).checks[0]):
        low, high = ask(wide).interval
        inner_low, inner_high = ask(narrow).interval
        assert low < inner_low < inner_high < high


def test_what_else_changed_is_named() -> None:
    """Differences between the environments stand among the reasons of a comparison, and only there."""
    found = against(1.0, differences=("torch 2.1 -> 2.2", "revision a -> b"))
    assert found.has_not_regressed(metrics=["p50"]).reasons[-1] == "changed since: torch 2.1 -> 2.2; revision a -> b"
    assert found.meets(PROMISE).reasons == ()


def test_recording_accepts_a_difference_to_what_is_replaced() -> None:
    """While baselines are recorded a slower service passes against the old file, but not against another profile."""
    recording = Policy(updating=True)
    assert replace(against(1.3, stored=True), policy=recording).has_not_regressed(metrics=["p50"]).passed
    assert not replace(against(1.3), policy=recording).has_not_regressed(metrics=["p50"]).passed
    assert not replace(against(1.3, stored=True), policy=recording).meets(BROKEN).passed


def test_its_verdicts_are_collected_with_it() -> None:
    """A measurement has every verdict that was asked of it, in order; those of a changed copy are its own."""
    asked = measurement()
    given = (asked.meets(PROMISE), asked.has_not_regressed())
    assert asked.verdicts == given
    copy = replace(asked, profile="other")
    assert copy.verdicts == ()
    copy.meets(PROMISE)
    assert asked.verdicts == given


def test_its_repr_is_short() -> None:
    """A failing assert that shows a measurement does not print its arrays."""
    assert repr(measurement()) == "Measurement('steady', profile='optimized', runs=5)"
