"""What a single run says: trend, proportions, families."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_inferbench.stats.proportions import clopper_pearson, holm
from pytest_inferbench.stats.trend import saturation


def _queue(rng: np.random.Generator, n: int, utilisation: float, cv: float = 1.0) -> np.ndarray:
    k = cv**-2
    step = rng.gamma(4, 0.25, n) - rng.gamma(k, 1 / (k * utilisation), n)
    walk = np.concatenate([[0.0], np.cumsum(step)[:-1]])
    return walk - np.minimum.accumulate(walk) + 1


def test_a_saturated_queue_rises_and_a_bursty_one_does_not() -> None:
    """Arrivals at 1.5 times the capacity always show; CV 3 at utilisation 0.7 shows in at most 2 % of runs."""
    rng = np.random.default_rng(4)
    saturated = [saturation(_queue(rng, 400, 1.5)).rising for _ in range(100)]
    bursty = [saturation(_queue(rng, 400, 0.7, 3.0)).rising for _ in range(300)]
    assert np.mean(saturated) > 0.97
    assert np.mean(bursty) <= 0.02


def test_drift_constants_and_failures_are_not_saturation() -> None:
    """A 10 % drift, constant latencies, short runs and runs of failures are not called rising."""
    rng = np.random.default_rng(5)
    assert not saturation(rng.gamma(4, 1, 400) * np.linspace(1, 1.1, 400)).rising
    assert not saturation(np.ones(400)).rising
    assert not saturation(np.arange(1.0, 20.0)).rising
    assert not saturation(np.full(400, np.inf)).rising


def test_clopper_pearson_is_exact() -> None:
    """The ends are where the binomial tail is alpha; 0 of n gives 1 - alpha^(1/n) (the rule of three)."""
    assert clopper_pearson(0, 100, 0.05) == pytest.approx((0.0, 1 - 0.05**0.01))
    assert clopper_pearson(100, 100, 0.05) == pytest.approx((0.05**0.01, 1.0))
    assert clopper_pearson(5, 50, 0.025) == pytest.approx((0.03328, 0.21814), abs=1e-5)
    with pytest.raises(ValueError, match="not a proportion"):
        clopper_pearson(3, 2, 0.05)


def test_holm_steps_down_and_never_decreases() -> None:
    """The textbook example: 0.01, 0.04, 0.03 become 0.03, 0.06, 0.06 in the order given."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
