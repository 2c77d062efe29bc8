"""Rates that change: as many arrivals, and where, as the rate says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.workload.arrivals import ArrivalProcess
from pytest_inferbench.workload.varying import Ramp, Steps


def _counts(process: Ramp | Steps, duration: float, parts: int, seeds: int = 40) -> np.ndarray:
    """Mean number of arrivals in each equal part of the run, over many seeds."""
    edges = np.linspace(0, duration * 1e9, parts + 1)
    drawn = [np.histogram(process.schedule(duration, seed).offsets_ns, edges)[0] for seed in range(seeds)]
    return np.mean(drawn, axis=0)


@pytest.mark.parametrize(("start", "end"), [(10, 90), (90, 10), (0, 100), (100, 0), (50, 50)])
def test_a_ramp_has_the_rate_of_each_moment(start: float, end: float) -> None:
    """In each tenth of the run as many arrivals as the straight line says, within the noise of forty seeds."""
    expected = (start + (end - start) * (np.arange(10) + 0.5) / 10) * 2
    seen = _counts(Ramp(start, end), 20, 10)
    assert np.all(np.abs(seen - expected) < 5 * np.sqrt(expected / 40) + 0.5)
    assert Ramp(start, end).mean_rate == 50


def test_a_ramp_of_one_rate_is_a_poisson_process() -> None:
    """Without a slope the gaps are exponential: mean 1/rate, CV 1."""
    gaps = np.diff(Ramp(100, 100).schedule(200, 3).offsets_ns) / 1e9
    assert gaps.mean() == pytest.approx(0.01, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(1, rel=0.05)


def test_steps_hold_each_rate_for_its_part_and_pause_at_zero() -> None:
    """Three rates share the run equally; nothing arrives in a pause."""
    seen = _counts(Steps([30, 0, 60]), 9, 3)
    assert seen[1] == 0
    assert seen[0] == pytest.approx(90, rel=0.1)
    assert seen[2] == pytest.approx(180, rel=0.1)
    assert Steps([30, 0, 60]).mean_rate == 30


@pytest.mark.parametrize("process", [Ramp(5, 50), Ramp(5, 50, cv=3), Steps([5, 50]), Steps([5, 50], cv=3)])
def test_the_seed_decides_everything(process: Ramp | Steps) -> None:
    """The same seed gives the same schedule, another seed another; it lies within the run and fits the protocol."""
    schedule = process.schedule(10, 7)
    assert schedule == process.schedule(10, 7)
    assert schedule.digest != process.schedule(10, 8).digest
    assert schedule.offsets_ns[-1] < 10e9
    assert isinstance(process, ArrivalProcess)
    assert all(isinstance(value, str | int | float | list) for value in process.identity.values())


def test_bursts_remain_bursts_on_a_ramp() -> None:
    """With a CV of 3 the counts of a second vary more than those of a Poisson process."""

    def spread(cv: float) -> float:
        counts = np.histogram(Ramp(40, 60, cv).schedule(400, 1).offsets_ns, np.arange(401) * 1e9)[0]
        return float(counts.var() / counts.mean())

    assert spread(3) > 4 * spread(1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ramp(0, 0),
        lambda: Ramp(-1, 5),
        lambda: Ramp(1, math.inf),
        lambda: Ramp(1, 5, 0),
        lambda: Steps([]),
        lambda: Steps([0, 0]),
        lambda: Steps([1, math.nan]),
        lambda: Steps([1, 2], -1),
        lambda: Ramp(1, 2).schedule(0),
        lambda: Steps([1]).schedule(math.nan),
    ],
)
def test_rates_that_cannot_be_are_refused(make) -> None:  # type: ignore[no-untyped-def]
    """Negative, not finite, or nothing but zeros."""
    with pytest.raises(ValidationError):
        make()
