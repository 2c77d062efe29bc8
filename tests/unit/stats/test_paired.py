"""Inference on a handful of runs: means of figures, and changes between two sides."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from pytest_inferbench.stats.paired import mean_of_changes, mean_of_values, median_interval, pairs_to_decide

Array = NDArray[np.float64]

#: Figures of runs in whatever unit: 20 ms and 20 s, with the spread of a real service.
FIGURES = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=12).map(np.array)
SCALES = st.floats(1e-6, 1e6)
SHARED = st.sampled_from([True, False, None])


def _draws(n: int, seed: int = 1, mean: float = 0.1, sd: float = 0.05) -> Array:
    return np.random.default_rng(seed).normal(mean, sd, n)


def _changes(n: int, seed: int = 1, *, mean: float = 0.1, luck: float = 0.0, sd: float = 0.05) -> tuple[Array, Array]:
    """Return figures of n pairs that share ``luck``, the second side ``mean`` above the first."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0, luck, n)
    return common + rng.normal(0, sd, n), common + mean + rng.normal(0, sd, n)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 20])
@pytest.mark.parametrize("mean", [-0.2, 0.0, 0.2])
def test_the_interval_of_values_is_students_t(n: int, mean: float) -> None:
    """Both ends are scipy's t interval, whatever the number of runs and wherever zero is."""
    values = _draws(n, mean=mean)
    expected = stats.t.interval(0.9, n - 1, values.mean(), values.std(ddof=1) / math.sqrt(n))
    assert mean_of_values(values).interval(0.05) == pytest.approx(expected)


@settings(deadline=None)
@given(values=FIGURES, scale=SCALES)
def test_values_have_no_unit(values: Array, scale: float) -> None:
    """Milliseconds and seconds give the same interval: c times the values have c times the ends."""
    plain, scaled = (mean_of_values(v).interval(0.05) for v in (values, scale * values))
    assert scaled == pytest.approx([scale * end for end in plain], rel=1e-9, abs=1e-9 * scale * float(values.max()))


@settings(deadline=None)
@given(values=FIGURES, scale=SCALES)
def test_logarithms_of_values_have_no_unit(values: Array, scale: float) -> None:
    """Of the geometric mean too: five runs at 20 ms are as uncertain, in per cent, as the same at 20 s."""
    plain, scaled = (mean_of_values(np.log(v)).interval(0.05) for v in (values, scale * values))
    assert scaled == pytest.approx([end + math.log(scale) for end in plain], abs=1e-9)


def test_the_upper_end_is_the_same_at_20_ms_and_at_20_s() -> None:
    """The case that was reported: the guard for "no change" made x1.073 of one and x1.056 of the other."""
    runs = np.array([1.02, 0.96, 1.07, 0.93, 1.03])
    estimates = [mean_of_values(np.log(unit * runs)) for unit in (0.020, 1.0, 20.0)]
    assert np.ptp([math.exp(e.interval(0.05)[1] - e.mean) for e in estimates]) < 1e-12


@settings(deadline=None)
@given(data=st.data(), scale=SCALES, shared=SHARED)
def test_changes_have_no_unit(data: st.DataObject, scale: float, shared: bool | None) -> None:
    """c times the figures have c times the change and its ends, by whichever rule they are judged."""
    before = data.draw(FIGURES)
    after = np.array(data.draw(st.lists(st.floats(1e-3, 1e3), min_size=before.size, max_size=before.size)))
    plain = mean_of_changes(before, after, shared=shared)
    exact = mean_of_changes(4.0 * before, 4.0 * after, shared=shared)  # a power of two: no rounding at all
    assert exact.interval(0.05) == tuple(4.0 * end for end in plain.interval(0.05))
    scaled = mean_of_changes(scale * before, scale * after, shared=shared)
    assert scaled.mean == pytest.approx(scale * plain.mean, rel=1e-9, abs=1e-9 * scale * float(before.max()))


@pytest.mark.parametrize("shared", [True, False, None])
def test_swapping_the_sides_mirrors_the_change(shared: bool | None) -> None:
    """The rule favours neither side."""
    for n, luck in itertools.product((2, 5, 9), (0.0, 0.2)):
        before, after = _changes(n, luck=luck)
        low, high = mean_of_changes(before, after, shared=shared).interval(0.05)
        back = mean_of_changes(after, before, shared=shared)
        assert back.interval(0.05) == pytest.approx((-high, -low))
        assert back.p_below(-0.02) == pytest.approx(mean_of_changes(before, after, shared=shared).p_above(0.02))


def test_a_change_of_independent_runs_is_welchs() -> None:
    """Where pairs share nothing the interval is scipy's Welch interval, to the last digit."""
    before, after = _changes(5)
    expected = stats.ttest_ind(after, before, equal_var=False).confidence_interval(0.9)
    assert mean_of_changes(before, after, shared=False).interval(0.05) == pytest.approx(tuple(expected))


def test_a_change_of_pairs_that_share_their_luck_is_the_paired_t() -> None:
    """Where pairs share ten times what they do not, the interval is scipy's paired one, whether known or seen."""
    before, after = _changes(5, luck=0.5)
    expected = stats.ttest_rel(after, before).confidence_interval(0.9)
    for shared in (True, None):
        assert mean_of_changes(before, after, shared=shared).interval(0.05) == pytest.approx(tuple(expected))


def test_pairs_that_share_nothing_after_all_borrow_from_both_sides() -> None:
    """Of shared pairs the smaller of the two variances counts: never more than the paired interval, sometimes less."""
    narrower = 0
    for seed in range(50):
        before, after = _changes(5, seed)
        low, high = mean_of_changes(before, after, shared=True).interval(0.05)
        paired = stats.ttest_rel(after, before).confidence_interval(0.9)
        assert high - low <= paired.high - paired.low + 1e-12
        narrower += high - low < 0.99 * (paired.high - paired.low)
    assert 15 <= narrower <= 35  # half of them: differences then vary more than two independent runs as often as less


@pytest.mark.parametrize("shared", [True, False, None])
@pytest.mark.parametrize("luck", [0.0, 0.03, 0.1, 1.0])
def test_the_interval_covers_what_it_promises(shared: bool | None, luck: float) -> None:
    """One-sided errors stay near 5 % for 5 pairs whatever they share (the worst is 5.8 % in theory; 4,000 draws)."""
    rng = np.random.default_rng(7)
    draws = 4000
    common = rng.normal(0, luck, (draws, 5))
    before, after = (common + rng.normal(0, 0.05, (draws, 5)) for _ in range(2))
    wrong = sum(mean_of_changes(b, a, shared=shared).interval(0.05)[0] > 0 for b, a in zip(before, after, strict=True))
    assert wrong / draws < 0.068


@pytest.mark.parametrize("shared", [True, None])
def test_power_is_welchs_where_pairs_share_nothing(shared: bool | None) -> None:
    """Independent runs lose nothing to pairing: the old rule found 8 of 100 fewer than Welch's interval here."""
    rng = np.random.default_rng(11)
    draws, found, welch = 2000, 0, 0
    for _ in range(draws):
        before, after = rng.normal(0, 0.04, 5), rng.normal(0.1, 0.04, 5)
        found += mean_of_changes(before, after, shared=shared).interval(0.05)[0] > math.log(1.05)
        welch += mean_of_changes(before, after, shared=False).interval(0.05)[0] > math.log(1.05)
    assert found >= welch - (0.03 if shared else 0.0) * draws


def test_the_p_value_is_the_least_alpha_whose_interval_excludes_the_threshold() -> None:
    """p-value and interval are one rule: at alpha just above p the bound clears the threshold, just below not."""
    for n, seed, shared in itertools.product([2, 3, 5, 8, 12], range(10), [True, False, None]):
        estimate = mean_of_changes(*_changes(n, seed), shared=shared)
        p = estimate.p_above(0.05)
        if p < 0.45:
            assert estimate.interval(p * 1.001 + 1e-9)[0] > 0.05 - 1e-9
        if 1e-6 < p < 0.5:
            assert estimate.interval(p * 0.999)[0] <= 0.05 + 1e-9


def test_no_variance_is_certainty_not_a_division_by_zero() -> None:
    """Identical differences give a point interval and p-values of 0 and 1."""
    before = np.linspace(0.1, 0.5, 5)
    estimate = mean_of_changes(before, before + math.log(1.1))
    assert estimate.interval(0.05) == pytest.approx((math.log(1.1), math.log(1.1)))
    assert estimate.p_above(math.log(1.05)) == 0.0
    assert estimate.p_above(math.log(1.2)) == 1.0


def test_one_run_says_nothing() -> None:
    """A single run, or pair, has no variance to judge by: the interval is unbounded."""
    for estimate in (mean_of_values(np.array([3.0])), mean_of_changes(np.array([1.0]), np.array([4.0]))):
        assert estimate.interval(0.05) == (-math.inf, math.inf)
        assert estimate.p_above(0.0) == 1.0


def test_infinite_figures_are_refused() -> None:
    """A mean over an infinity is not a mean: median_interval is for those."""
    with pytest.raises(ValueError, match="finite"):
        mean_of_values(np.array([1.0, math.inf]))
    with pytest.raises(ValueError, match="as many figures"):
        mean_of_changes(np.ones(3), np.ones(2))


def test_the_median_interval_is_the_inverted_sign_test() -> None:
    """Of 8 values the second smallest is the lower 5 % bound: P(Bin(8, 1/2) < 2) = 0.035."""
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, math.inf, math.inf])
    assert median_interval(values, 0.05) == (4.5, 2.0, math.inf)
    assert median_interval(values[:4], 0.05) == (2.5, -math.inf, math.inf)


def test_pairs_to_decide_shrinks_the_interval_to_the_threshold() -> None:
    """With as many more pairs as promised, the bound clears the threshold, with one less it does not."""
    estimate = mean_of_values(_draws(8, 3, mean=0.02, sd=0.08))
    more = pairs_to_decide(estimate, 0.05, 0.05)
    assert more is not None
    n = estimate.n + more

    def bound(n: int) -> float:
        return float(estimate.mean + stats.t.isf(0.05, n - 1) * estimate.sd / math.sqrt(n))

    assert bound(n) < 0.05 <= bound(n - 1)


def test_a_mean_on_the_threshold_is_never_decided() -> None:
    """No number of pairs decides a change that is exactly the margin."""
    assert pairs_to_decide(mean_of_values(np.array([0.04, 0.06])), 0.05, 0.05) is None
