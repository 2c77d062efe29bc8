"""What a test asserts, and what pytest prints when it fails."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.comparison import compare_family
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.slo import SloCheck
from pytest_inferbench.judgement.verdict import Verdict

RNG = np.random.default_rng(1)
REFERENCE = [RNG.exponential(0.05, 400) + 0.02 for _ in range(5)]
SUBJECT = "bursty under profile optimized"


def _regression(factor: float, noise: float = 0.005, **options: bool) -> Verdict:
    rng = np.random.default_rng(2)
    candidate = [r * factor * np.exp(noise * rng.standard_normal()) for r in REFERENCE]
    checks = compare_family(REFERENCE, candidate, metrics=("p50", "p95", "error_rate"))
    return Verdict.of("regression", SUBJECT, checks, **options)


def _slo(outcome: Outcome) -> SloCheck:
    return SloCheck("p95", outcome, 0.21, (0.20, 0.23), 0.25, 2000, 5)


@pytest.mark.parametrize(
    ("outcomes", "worst"),
    [
        ((Outcome.IMPROVED, Outcome.PASS), Outcome.PASS),
        ((Outcome.PASS, Outcome.INCONCLUSIVE), Outcome.INCONCLUSIVE),
        ((Outcome.INCONCLUSIVE, Outcome.REGRESSED), Outcome.REGRESSED),
        ((Outcome.MET, Outcome.UNCERTAIN, Outcome.MISSED), Outcome.MISSED),
        ((Outcome.REGRESSED, Outcome.INVALID), Outcome.INVALID),
    ],
)
def test_the_worst_check_is_the_outcome(outcomes: tuple[Outcome, ...], worst: Outcome) -> None:
    """One bad metric decides, whatever the others say and in whatever order."""
    assert Outcome.worst(outcomes) is worst
    assert Outcome.worst(reversed(outcomes)) is worst


@pytest.mark.parametrize("outcome", list(Outcome))
def test_which_outcomes_fail(outcome: Outcome) -> None:
    """REGRESSED, MISSED and INVALID fail always, the undecided ones under strict, the rest never."""
    verdict = Verdict.of("slo", SUBJECT, (), outcome=outcome)
    strict = Verdict.of("slo", SUBJECT, (), outcome=outcome, strict=True)
    assert bool(verdict) == verdict.passed == (outcome.name not in {"REGRESSED", "MISSED", "INVALID"})
    assert strict.passed == (outcome.name in {"PASS", "IMPROVED", "MET"})


def test_a_missing_baseline_fails_where_it_is_not_allowed() -> None:
    """Under CI a gate that never measured must not say PASS."""
    assert Verdict.of("regression", SUBJECT, (), outcome=Outcome.NO_BASELINE).passed
    assert not Verdict.of("regression", SUBJECT, (), outcome=Outcome.NO_BASELINE, allow_missing=False).passed


def test_the_explanation_starts_with_outcome_metric_and_figures() -> None:
    """The first line alone says what happened, to what, by how much."""
    first = repr(_regression(1.2, noise=0)).splitlines()[0]
    assert first.startswith("REGRESSED: p50 20.0% slower (+20.0% to +20.0%), margin 5.0%")
    assert SUBJECT in first


def test_the_headline_is_about_the_metric_that_changed_most() -> None:
    """Of two regressed metrics the larger change is named first."""
    slow = [np.where(r > np.quantile(r, 0.9), 2 * r, 1.2 * r) for r in REFERENCE]
    checks = compare_family(REFERENCE, slow, metrics=("p50", "p95"))
    assert {check.outcome for check in checks} == {Outcome.REGRESSED}
    assert repr(Verdict.of("regression", SUBJECT, checks)).startswith("REGRESSED: p95 ")


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.05, 1.2])
@pytest.mark.parametrize("noise", [0.005, 0.1])
def test_the_explanation_fits_a_screen(factor: float, noise: float) -> None:
    """At most 24 lines of 100 columns, with every metric in it."""
    text = repr(_regression(factor, noise))
    lines = text.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert all(metric in text for metric in ("p50", "p95", "error_rate"))


def test_a_long_subject_does_not_push_the_first_line_off_the_screen() -> None:
    """The headline is cut, not wrapped."""
    verdict = Verdict.of("slo", "x" * 200, (_slo(Outcome.MET),))
    assert len(repr(verdict).splitlines()[0]) == 100


def test_an_undecided_verdict_says_what_would_decide() -> None:
    """INCONCLUSIVE names the number of further pairs."""
    text = repr(_regression(1.05, 0.02))
    assert text.startswith("INCONCLUSIVE")
    assert "more pair" in text


def test_an_slo_verdict_shows_estimate_interval_limit_and_n() -> None:
    """Nothing is claimed without its interval and its n."""
    text = repr(Verdict.of("slo", SUBJECT, (_slo(Outcome.MET),)))
    assert text.splitlines()[0].startswith("MET: p95 210 ms within 250 ms")
    for part in ("200 ms to 230 ms", "n = 2000", "5 runs"):
        assert part in text


def test_the_reasons_given_to_a_verdict_are_shown() -> None:
    """Why there was nothing to compare reaches the reader, with the way out."""
    verdict = Verdict.of("regression", SUBJECT, (), outcome=Outcome.NO_BASELINE, reasons=("recorded on another CPU",))
    assert "recorded on another CPU" in repr(verdict)
    assert "--update-baselines" in repr(verdict)


def test_a_verdict_on_nothing_needs_an_outcome() -> None:
    """No checks and no outcome is a mistake of the caller, not a PASS."""
    with pytest.raises(ValidationError, match="needs checks"):
        Verdict.of("regression", SUBJECT, ())
    with pytest.raises(ValidationError, match="kind"):
        Verdict.of("speed", SUBJECT, (), outcome=Outcome.PASS)  # type: ignore[arg-type]


def test_a_regression_that_is_being_recorded_passes_and_says_so() -> None:
    """Under --update-baselines the difference is shown and accepted; a failed measurement is not, nor a missed SLO."""
    slower = compare_family([[0.1] * 100] * 5, [[0.2] * 100] * 5, metrics=("p50",))
    verdict = Verdict.of("regression", "steady", slower, recording=True)
    assert verdict.outcome is Outcome.REGRESSED
    assert verdict.passed
    assert "Accepted: this measurement is being recorded" in repr(verdict)
    assert not Verdict.of("regression", "steady", (), outcome=Outcome.INVALID, recording=True).passed
    assert not Verdict.of("slo", "steady", (), outcome=Outcome.MISSED, recording=True).passed


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1.07, "7.0% slower"),
        (0.93, "7.0% faster"),
        (7, "7 times slower (7 to 7)"),
        (0.25, "4 times faster (4 to 4)"),
        (math.inf, "p50 now among the failed requests"),
    ],
)
def test_a_large_change_is_told_as_a_factor(factor: float, words: str) -> None:
    """Percents read well up to a factor of two; beyond, "600% slower" would be misread."""
    checks = compare_family([[0.1] * 100] * 5, [[0.1 * factor] * 100] * 5, metrics=("p50",))
    assert words in repr(Verdict.of("regression", "steady", checks))


def test_a_family_of_metrics_shows_raw_and_adjusted_p() -> None:
    """Each line of a family gives the raw and the adjusted p-value; a metric alone has nothing to adjust."""
    assert "; p " in repr(_regression(1.1))
    assert ", Holm " in repr(_regression(1.1))
    alone = compare_family(REFERENCE, [r * 1.1 for r in REFERENCE], metrics=("p50",))
    assert "Holm" not in repr(Verdict.of("regression", SUBJECT, alone))


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (SloCheck("p95", Outcome.MISSED, 0.30, (0.28, 0.32), 0.25, 2000, 5), "p95 is 20.0% over its limit. To find"),
        (SloCheck("p95", Outcome.MISSED, 0.75, (0.7, 0.8), 0.25, 2000, 5), "p95 is 3.0 times its limit. To find"),
        (SloCheck("throughput", Outcome.MISSED, 30.0, (29, 31), 40, 2000, 5), "throughput is 25.0% under its limit."),
        (SloCheck("p95", Outcome.MISSED, np.inf, (np.inf, np.inf), 0.25, 2000, 5), "\n  To find what changed"),
        (SloCheck("error_rate", Outcome.MISSED, 0.1, (0.08, 0.12), 0.0, 2000, 5), "\n  To find what changed"),
    ],
)
def test_a_missed_objective_says_by_how_much_and_what_to_do(check: SloCheck, said: str) -> None:
    """The share of the limit, where there is a finite one, and the next step; all of it on one screen."""
    text = repr(Verdict.of("slo", SUBJECT, [check]))
    assert said in text
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 100
