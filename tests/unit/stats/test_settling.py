"""Does a service still get faster: the signed-rank test holds its level for any law of service times."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from pytest_inferbench.stats.settling import SpeedUp, speed_up

Law = Callable[[np.random.Generator, int], NDArray[np.float64]]
LAWS: dict[str, Law] = {
    "exponential": lambda rng, n: rng.exponential(size=n),
    "lognormal": lambda rng, n: rng.lognormal(0, 1, n),
    "bimodal": lambda rng, n: np.where(rng.random(n) < 0.5, 10.0, 1.0),
    "constant": lambda rng, n: rng.normal(1, 0.01, n),
}


@pytest.mark.parametrize("law", LAWS)
def test_chance_makes_a_speed_up_as_often_as_it_says(law: str) -> None:
    """Of 600 pairs of blocks of a service that does not change, p is below 0.05 in at most 5 % and some luck."""
    rng = np.random.default_rng(1)
    found = [speed_up(LAWS[law](rng, 24), LAWS[law](rng, 24)).p < 0.05 for _ in range(600)]
    assert np.mean(found) < 0.08


@pytest.mark.parametrize("n", [1, 5, 24, 50, 51, 300])
def test_the_test_is_wilcoxons(n: int) -> None:
    """p agrees with scipy's, exact below 51 pairs and approximate beyond; both are one-sided."""
    rng = np.random.default_rng(n)
    earlier, later = rng.exponential(size=(2, n))
    method = "exact" if n <= 50 else "approx"
    expected = wilcoxon(np.log(later / earlier), alternative="less", method=method, correction=False).pvalue
    assert speed_up(earlier, later).p == pytest.approx(expected)


def test_half_the_time_is_a_ratio_of_a_half() -> None:
    """Every request twice as fast: ratio 0.5, as improbable as 24 tosses of a coin that agree."""
    found = speed_up(np.full(24, 2.0), np.full(24, 1.0))
    assert found == SpeedUp(ratio=pytest.approx(0.5), p=pytest.approx(2.0**-24), pairs=24)
    assert found.beyond(ratio=0.9, p=0.001)
    assert not found.beyond(ratio=0.4, p=0.001)


def test_slower_is_not_faster() -> None:
    """The test is one-sided: a later block that takes longer is no evidence of a service that gets warm."""
    assert speed_up(np.full(24, 1.0), np.full(24, 2.0)).p == pytest.approx(1.0)


def test_a_pause_is_no_trend() -> None:
    """One request of 24 that took a hundred times as long in the earlier block moves neither figure."""
    earlier = np.ones(24)
    earlier[3] = 100.0
    found = speed_up(earlier, np.ones(24))
    assert found.ratio == pytest.approx(1.0)
    assert found.p == 0.5


def test_what_failed_in_either_block_is_left_out() -> None:
    """A pair counts only if both succeeded; without any there is no figure, and no evidence."""
    assert speed_up(np.array([2.0, np.nan, 2.0]), np.array([1.0, 1.0, np.nan])).pairs == 1
    none = speed_up(np.array([np.nan]), np.array([1.0]))
    assert (none.pairs, none.p) == (0, 1.0)
    assert math.isnan(none.ratio)
    assert not none.beyond(ratio=0.9, p=1.0)


def test_two_blocks_that_are_equal_are_no_evidence() -> None:
    """Differences of zero say nothing: p is 1, not NaN."""
    assert speed_up(np.ones(24), np.ones(24)) == SpeedUp(ratio=1.0, p=1.0, pairs=24)
