"""Inference on a handful of paired differences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from pytest_inferbench.stats.paired import median_interval, paired_mean, pairs_to_decide


def _draws(n: int, seed: int = 1, mean: float = 0.1, sd: float = 0.05) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, sd, n)


def test_eight_pairs_give_the_plain_t_interval() -> None:
    """From 8 pairs on both ends are scipy's t interval."""
    values = _draws(8)
    expected = stats.t.interval(0.9, 7, values.mean(), values.std(ddof=1) / math.sqrt(8))
    assert paired_mean(values).interval(0.05) == pytest.approx(expected)


@pytest.mark.parametrize("n", [2, 3, 5, 7])
@pytest.mark.parametrize("mean", [-0.2, 0.0, 0.03, 0.2])
def test_the_interval_contains_the_plain_t_interval(n: int, mean: float) -> None:
    """With few pairs an end may only move outwards, and never past zero."""
    for seed in range(20):
        values = _draws(n, seed, mean)
        low, high = paired_mean(values).interval(0.05)
        plain = stats.t.interval(0.9, n - 1, values.mean(), values.std(ddof=1) / math.sqrt(n))
        assert low <= plain[0] + 1e-12
        assert high >= plain[1] - 1e-12
        assert low >= min(plain[0], 0.0) - 1e-12
        assert high <= max(plain[1], 0.0) + 1e-12


def test_the_p_value_is_the_least_alpha_whose_interval_excludes_the_threshold() -> None:
    """p-value and interval are one rule: at alpha just above p the bound clears the threshold, just below not."""
    for n, seed in itertools.product([3, 5, 6, 8, 12], range(15)):
        estimate = paired_mean(_draws(n, seed))
        p = estimate.p_above(0.05)
        if p < 0.45:
            assert estimate.interval(p * 1.001 + 1e-9)[0] > 0.05 - 1e-9
        if 1e-6 < p < 0.5:
            assert estimate.interval(p * 0.999)[0] <= 0.05 + 1e-9


def test_swapping_the_sides_mirrors_the_interval() -> None:
    """The rule favours neither side."""
    for n in (2, 5, 9):
        values = _draws(n)
        low, high = paired_mean(values).interval(0.05)
        assert paired_mean(-values).interval(0.05) == pytest.approx((-high, -low))
        assert paired_mean(values).p_below(-0.02) == pytest.approx(paired_mean(-values).p_above(0.02))


def test_five_agreeing_pairs_are_held_to_alpha() -> None:
    """Five pairs beyond the threshold satisfy the signed ranks (1/32), so the plain t bound stands."""
    values = np.array([0.10, 0.20, 0.12, 0.35, 0.09])
    plain = values.mean() - stats.t.isf(0.05, 4) * values.std(ddof=1) / math.sqrt(5)
    ranks = values.min()
    assert paired_mean(values).interval(0.05)[0] == pytest.approx(min(plain, ranks))


def test_no_variance_is_certainty_not_a_division_by_zero() -> None:
    """Identical differences give a point interval and p-values of 0 and 1."""
    estimate = paired_mean(np.full(5, math.log(1.1)))
    assert estimate.interval(0.05) == pytest.approx((math.log(1.1), math.log(1.1)))
    assert estimate.p_above(math.log(1.05)) == 0.0
    assert estimate.p_above(math.log(1.2)) == 1.0


def test_one_pair_says_nothing() -> None:
    """A single pair has no variance to judge by: the interval is unbounded."""
    assert paired_mean(np.array([3.0])).interval(0.05) == (-math.inf, math.inf)
    assert paired_mean(np.array([3.0])).p_above(0.0) == 1.0


def test_infinite_differences_are_refused() -> None:
    """A mean over an infinity is not a mean: median_interval is for those."""
    with pytest.raises(ValueError, match="finite"):
        paired_mean(np.array([1.0, math.inf]))


def test_the_median_interval_is_the_inverted_sign_test() -> None:
    """Of 8 values the second smallest is the lower 5 % bound: P(Bin(8, 1/2) < 2) = 0.035."""
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, math.inf, math.inf])
    assert median_interval(values, 0.05) == (4.5, 2.0, math.inf)
    assert median_interval(values[:4], 0.05) == (2.5, -math.inf, math.inf)


def test_pairs_to_decide_shrinks_the_interval_to_the_threshold() -> None:
    """With as many more pairs as promised, the bound clears the threshold, with one less it does not."""
    estimate = paired_mean(_draws(8, 3, mean=0.02, sd=0.08))
    more = pairs_to_decide(estimate, 0.05, 0.05)
    assert more is not None
    n = estimate.n + more

    def bound(n: int) -> float:
        return float(estimate.mean + stats.t.isf(0.05, n - 1) * estimate.sd / math.sqrt(n))

    assert bound(n) < 0.05 <= bound(n - 1)


def test_a_mean_on_the_threshold_is_never_decided() -> None:
    """No number of pairs decides a change that is exactly the margin."""
    assert pairs_to_decide(paired_mean(np.array([0.04, 0.06])), 0.05, 0.05) is None
