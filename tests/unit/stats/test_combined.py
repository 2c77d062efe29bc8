"""Differences of independent means with one standard error."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pytest_inferbench.stats.combined import mean_of


def test_a_difference_of_two_means_is_welchs() -> None:
    """Interval and degrees of freedom are those that scipy's Welch test has."""
    first, second = np.array([1.0, 3.0, 2.5, 4.0]), np.array([0.0, 4.0, 9.0])
    difference = mean_of(first).minus(mean_of(second))
    theirs = stats.ttest_ind(first, second, equal_var=False)
    assert difference.df == pytest.approx(theirs.df)
    assert difference.interval(0.05) == pytest.approx(tuple(theirs.confidence_interval(0.9)))


def test_by_hand() -> None:
    """1 and 3, minus 0 and 4: 0, variances 1 and 4 of the means, df 25 / (1 + 16)."""
    difference = mean_of(np.array([1.0, 3.0])).minus(mean_of(np.array([0.0, 4.0])))
    assert (difference.value, difference.se**2, difference.df) == pytest.approx((0, 5, 25 / 17))


def test_values_that_agree_leave_no_doubt_and_one_value_is_refused() -> None:
    """Without variance the interval is the value; a single value has no variance to go by."""
    assert mean_of(np.array([2.0, 2.0])).interval(0.05) == (2, 2)
    with pytest.raises(ValueError, match="two values"):
        mean_of(np.array([2.0]))
