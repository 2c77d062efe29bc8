"""Quantiles with failures in them, and how many samples they need."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_inferbench.stats.quantiles import log_ratio, quantile, samples_needed, smooth_quantiles
from pytest_inferbench.stats.unqueued import unqueued_log_ratio


@pytest.mark.parametrize("p", [0.0, 0.5, 0.9, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("n", [1, 2, 7, 101, 400])
def test_finite_quantiles_are_numpys(n: int, p: float) -> None:
    """Without failures the quantile is numpy's default (type 7)."""
    values = np.random.default_rng(n).exponential(1, n)
    assert quantile(values, p) == pytest.approx(float(np.quantile(values, p)))


def test_a_quantile_is_infinite_as_soon_as_a_failure_counts_towards_it() -> None:
    """4 failures of 100 leave p95 finite, 6 do not, and nothing is interpolated towards inf."""
    values = np.arange(100.0)
    values[-4:] = math.inf
    assert quantile(values, 0.95) == pytest.approx(94.05)
    values[-6:] = math.inf
    assert quantile(values, 0.95) == math.inf


def test_no_values_have_no_quantile() -> None:
    """An empty array is an error, not a NaN."""
    with pytest.raises(ValueError, match="at least one"):
        quantile(np.array([]), 0.5)


def test_samples_needed_are_the_published_floors() -> None:
    """ln(alpha) / ln(p): 59 for p95 and 299 for p99 at 5 %."""
    assert [samples_needed(p, 0.05) for p in (0.5, 0.9, 0.95, 0.99)] == [5, 29, 59, 299]


def test_log_ratio_defines_every_corner() -> None:
    """Zeros and infinities give 0, ±inf or NaN as documented, without a warning."""
    up = np.array([0.0, math.inf, math.inf, 2.0, 1.0, 0.0, 4.0])
    down = np.array([0.0, math.inf, 1.0, 0.0, math.inf, 1.0, 2.0])
    expected = [0.0, math.nan, math.inf, math.inf, -math.inf, -math.inf, math.log(2)]
    np.testing.assert_allclose(log_ratio(up, down), expected)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.99])
def test_a_uniform_change_is_recovered_exactly(p: float) -> None:
    """Smoothing cancels in the ratio: c times slower is c at every percentile, whatever the distribution."""
    values = np.random.default_rng(1).gamma(0.3, 1, 137)
    before, after = smooth_quantiles(values, 1.1 * values, p)
    assert after / before == pytest.approx(1.1, rel=1e-12)


def test_smoothing_stays_clear_of_failures() -> None:
    """A failure beyond the percentile narrows the window instead of making it infinite."""
    values = np.linspace(1, 2, 400)
    failing = values.copy()
    failing[-15:] = math.inf  # p96.2 and up
    before, after = smooth_quantiles(values, failing, 0.95)
    assert math.isfinite(after)
    assert after == pytest.approx(before)


def test_smoothing_does_not_leak_the_slowest_fiftieth_into_p95() -> None:
    """When only the slowest 2 % take five times as long, p95 does not change."""
    values = np.sort(np.random.default_rng(2).exponential(1, 500))
    slow = values.copy()
    slow[-10:] *= 5
    before, after = smooth_quantiles(values, slow, 0.95)
    assert after == before
    assert smooth_quantiles(values, slow, 0.99)[1] > 2 * smooth_quantiles(values, slow, 0.99)[0]


def test_smoothing_reduces_the_noise_of_a_percentile() -> None:
    """The smoothed p95 of 400 exponentials varies clearly less than the order statistic."""
    rng = np.random.default_rng(3)
    runs = rng.exponential(1, (400, 400))
    smooth = np.log([smooth_quantiles(run, run, 0.95)[0] for run in runs])
    plain = np.log([quantile(run, 0.95) for run in runs])
    assert smooth.std() < 0.97 * plain.std()


def test_the_unqueued_ratio_ignores_rare_slow_requests() -> None:
    """One request in fifty taking five times as long leaves the ratio of the ordinary ones at 1."""
    rng = np.random.default_rng(4)
    values = rng.exponential(1, 400) + 1
    slow = np.where(rng.random(400) < 0.02, 5 * values, values)
    assert unqueued_log_ratio(values, slow) == 0.0
    assert unqueued_log_ratio(values, 1.1 * values) == pytest.approx(math.log(1.1))
    assert unqueued_log_ratio(values, 1.1 * values[:300]) == pytest.approx(math.log(1.1), abs=0.03)


def test_the_unqueued_ratio_of_failures_is_unknown() -> None:
    """With everything failed there is no ratio, and no warning."""
    assert math.isnan(unqueued_log_ratio(np.ones(10), np.full(10, math.inf)))
