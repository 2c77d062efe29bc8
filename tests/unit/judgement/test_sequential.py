"""Adding pairs only while undecided, at an error rate that holds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.comparison import compare
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.stopping import LOOKS, sequential_decision
from pytest_inferbench.stats.sequential import nominal_levels

Side = list[np.ndarray]


def _sides(pairs: int, *, factor: float = 1.0, noise: float = 0.01, seed: int = 1) -> tuple[Side, Side]:
    rng = np.random.default_rng(seed)
    requests = [0.02 + rng.exponential(0.05, 100) for _ in range(pairs)]
    return requests, [r * factor * np.exp(noise * rng.standard_normal()) for r in requests]


@pytest.mark.parametrize("looks", [(8,), (3, 5, 8, 12), (4, 8), (2, 3, 4, 5, 6, 7, 8)])
def test_all_looks_together_spend_alpha(looks: tuple[int, ...]) -> None:
    """Random walks cross the boundary at any look in 5 % of cases (n = 100,000; three standard errors)."""
    walks = np.cumsum(np.random.default_rng(1).standard_normal((100_000, looks[-1])), axis=1)
    scaled = walks[:, [n - 1 for n in looks]] / np.sqrt(looks)
    crossed = (scaled > stats.norm.isf(nominal_levels(looks, 0.05))).any(axis=1).mean()
    assert crossed == pytest.approx(0.05, abs=0.0021)


def test_one_look_is_no_peeking() -> None:
    """A plan of a single look tests at alpha."""
    assert nominal_levels((5,), 0.05) == pytest.approx((0.05,), rel=1e-3)


@pytest.mark.parametrize("looks", [(), (1, 3), (5, 5), (5, 3)])
def test_looks_that_are_no_plan_are_refused(looks: tuple[int, ...]) -> None:
    """Looks increase, and the first needs two pairs for a variance."""
    with pytest.raises(ValueError, match="looks must be"):
        nominal_levels(looks, 0.05)
    with pytest.raises(ValueError, match="alpha"):
        nominal_levels((3, 5), 0.7)


def test_a_clear_regression_stops_early_and_a_doubtful_one_goes_on() -> None:
    """30 % at 1 % noise is decided at the first look; 5 % at 4 % noise asks for the second."""
    clear = sequential_decision(*_sides(3, factor=1.3), metrics=("p50",))
    assert clear.decided
    assert clear.next_look is None
    assert clear.comparisons[0].outcome is Outcome.REGRESSED
    doubtful = sequential_decision(*_sides(3, factor=1.05, noise=0.04), metrics=("p50",))
    assert not doubtful.decided
    assert doubtful.next_look == LOOKS[1]
    assert "on to 5 pairs" in doubtful.reason


def test_the_last_look_ends_undecided() -> None:
    """At the end of the plan there is nothing to go on to, and it says so."""
    end = sequential_decision(*_sides(12, factor=1.05, noise=0.05), metrics=("p50",))
    assert (end.decided, end.next_look) == (False, None)
    assert "last look" in end.reason


def test_every_look_is_stricter_than_a_single_one() -> None:
    """The interval of a look is wider than that of a plain comparison of the same pairs."""
    sides = _sides(5, noise=0.03)
    look = sequential_decision(*sides, metrics=("p50",)).comparisons[0]
    plain = compare(*sides, metric="p50")
    assert look.alpha < 0.05
    assert look.interval[0] < plain.interval[0]
    assert look.interval[1] > plain.interval[1]


def test_a_budget_that_ends_spends_what_is_left() -> None:
    """A final look at 6 pairs, which no plan held, is allowed and is laxer than a planned interim look."""
    sides = _sides(6, noise=0.03)
    with pytest.raises(ValidationError, match="no planned look"):
        sequential_decision(*sides, metrics=("p50",))
    final = sequential_decision(*sides, metrics=("p50",), final=True)
    assert final.next_look is None
    assert final.level > nominal_levels(LOOKS, 0.05)[1]


def test_one_regressed_metric_ends_it() -> None:
    """More pairs cannot make a regression of p95 go away, so the doubt about p50 is not pursued."""
    reference, candidate = _sides(5, noise=0.05, factor=1.04, seed=4)
    slow = [np.where(c > np.quantile(c, 0.8), 5 * c, c) for c in candidate]
    decision = sequential_decision(reference, slow, metrics=("p50", "p95"))
    assert [c.outcome for c in decision.comparisons] == [Outcome.INCONCLUSIVE, Outcome.REGRESSED]
    assert decision.decided
    assert decision.next_look is None


def test_peeking_does_not_raise_the_false_alarms() -> None:
    """At the margin itself (a 5 % slower service) 5 % of walks are convicted, give or take."""
    alarms = 0
    for seed in range(200):
        reference, candidate = _sides(12, factor=1.05, noise=0.03, seed=seed)
        for look in LOOKS:
            decision = sequential_decision(reference[:look], candidate[:look], metrics=("mean",))
            if decision.comparisons[0].outcome is Outcome.REGRESSED:
                alarms += 1
                break
    assert alarms <= 17  # P(Bin(200, 0.05) > 17) = 0.01
