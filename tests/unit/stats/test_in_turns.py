"""The change between two runs in turns: grouping, weights, the trimmed mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pytest_inferbench.stats.in_turns import group_turns, trimmed_mean, turn_weights


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([9, 8, 10, 9], ((0, 1), (2, 3))),
        ([20, 20], ((0,), (1,))),
        ([9, 9, 9], ((0, 1, 2),)),
        ([20, 3], ((0, 1),)),
        ([3], ((0,),)),
    ],
)
def test_successive_turns_are_grouped_until_they_hold_enough(sizes: list[int], groups: object) -> None:
    """What is left over at the end joins the last group, and too little in all is one group."""
    assert group_turns(sizes, 16) == groups


def test_with_equal_weights_it_is_the_trimmed_mean() -> None:
    """It agrees with scipy's where a whole number of values is cut, and is the mean with a share of 0."""
    values = np.random.default_rng(0).standard_t(2, 20)
    ones = np.ones(20)
    assert trimmed_mean(values, ones, share=0.2) == pytest.approx(stats.trim_mean(values, 0.2))
    assert trimmed_mean(values, ones, share=0.0) == pytest.approx(values.mean())


def test_a_value_of_little_weight_hardly_counts() -> None:
    """The weighted mean without trimming is numpy's average, and a fifth of the weight is cut at either end."""
    values, weights = np.array([0.0, 1.0, 100.0]), np.array([1.0, 1.0, 0.01])
    assert trimmed_mean(values, weights, share=0.0) == pytest.approx(np.average(values, weights=weights))
    assert trimmed_mean(values, weights) == pytest.approx(0.5, abs=0.01)


def test_infinite_turns_are_trimmed_or_decide() -> None:
    """One turn in six without an answer is cut; half of them are not."""
    some, many = np.array([0, 0, 0, 0, 0, math.inf]), np.array([0, 0, 0, math.inf, math.inf, math.inf])
    assert trimmed_mean(some, np.ones(6)) == 0
    assert trimmed_mean(many, np.ones(6)) == math.inf


def test_turns_count_by_how_alike_the_machine_was_in_both() -> None:
    """A difference of others' CPU time costs weight, as much of it on both sides does not; unknown is none."""
    first = np.array([0.0, 0.0, 0.5, math.nan])
    second = np.array([0.0, 0.5, 0.5, math.nan])
    assert turn_weights(first, second) == pytest.approx([1.0, 0.5, 1.0, 1.0])
    assert turn_weights(second, first) == pytest.approx(turn_weights(first, second))
