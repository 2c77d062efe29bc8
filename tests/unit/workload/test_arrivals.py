"""Arrival processes against their theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.workload.arrivals import ArrivalProcess, ClosedLoop, Constant, Gamma, Poisson, Replay, Schedule

RATE = 50.0
DURATION = 2000.0  # 100,000 arrivals: the mean is known to 0.3 % (one sigma) for CV 1
PROCESSES = [(Poisson(RATE), 1.0), (Gamma(RATE, 3.0), 3.0), (Gamma(RATE, 0.5), 0.5)]


def gaps(process: ArrivalProcess, seed: int = 11) -> np.ndarray:
    return np.diff(process.schedule(DURATION, seed).offsets_ns, prepend=0) / 1e9


@pytest.mark.parametrize(("process", "cv"), PROCESSES)
def test_mean_and_variation_are_those_asked_for(process, cv):
    """The mean gap is 1/rate and the coefficient of variation is cv, within five standard errors."""
    sample = gaps(process)
    assert sample.mean() == pytest.approx(1 / RATE, rel=5 * cv / math.sqrt(len(sample)))
    assert sample.std() / sample.mean() == pytest.approx(cv, rel=0.05)


@pytest.mark.parametrize(("process", "cv"), PROCESSES)
def test_gaps_have_the_exact_distribution(process, cv):
    """A Kolmogorov-Smirnov test against the exact gamma law does not reject it; against a neighbour's it does."""
    sample = gaps(process)

    def pvalue(cv: float) -> float:
        law = stats.gamma(1 / cv**2, scale=cv**2 / RATE)
        # Offsets are whole nanoseconds, and with CV 3 one gap in eight is shorter than one: the law above 1 us is
        # tested as it is, what lies below by its share.
        floor = 1e-6
        above = sample[sample > floor]
        share = stats.binomtest(len(above), len(sample), law.sf(floor)).pvalue
        shape = stats.kstest(above, lambda x: 1 - law.sf(x) / law.sf(floor)).pvalue
        return float(min(share, shape))

    assert pvalue(cv) > 0.001
    assert pvalue(cv * 1.1) < 1e-6


def test_counts_of_a_poisson_process_vary_as_they_should():
    """The count over a fixed time is Poisson: its variance over seeds equals its mean, it is not fixed."""
    counts = np.array([len(Poisson(20).schedule(5.0, seed)) for seed in range(400)])
    assert counts.mean() == pytest.approx(100, abs=5 * math.sqrt(100 / 400))
    assert counts.var() == pytest.approx(100, rel=0.35)  # five standard errors of a variance of 400


@pytest.mark.parametrize("process", [Poisson(40), Gamma(40, 3), Constant(40), Replay([0.5, 1.0, 7.0])])
def test_the_seed_decides_everything(process):
    """The same seed gives the same schedule with the same digest, every time."""
    first, again = process.schedule(10.0, 3), process.schedule(10.0, 3)
    assert first == again
    assert np.array_equal(first.offsets_ns, again.offsets_ns)
    assert (first.seed, first.digest) == (again.seed, again.digest)


@pytest.mark.parametrize("process", [Poisson(40), Gamma(40, 3)])
def test_another_seed_is_another_schedule(process):
    """Seeds that differ give offsets that differ."""
    assert process.schedule(10.0, 3).digest != process.schedule(10.0, 4).digest


@pytest.mark.parametrize("process", [Poisson(40), Gamma(40, 3), Constant(40), Replay([0.5, 1.0, 7.0])])
def test_a_longer_run_only_appends(process):
    """All arrivals before the shorter duration, and nothing else, begin the longer schedule."""
    short, long = process.schedule(5.0, 3).offsets_ns, process.schedule(60.0, 3).offsets_ns
    assert np.array_equal(long[: len(short)], short)
    assert short[-1] < 5e9
    assert np.all(long[len(short) :] >= 5e9)


def test_the_first_offset_is_the_first_gap():
    """No arrival sits at zero by construction: over seeds the first offset has the gap's own distribution."""
    firsts = [Poisson(10).schedule(5.0, seed).offsets_ns[0] / 1e9 for seed in range(500)]
    assert stats.kstest(firsts, stats.expon(scale=0.1).cdf).pvalue > 0.001
    assert Constant(10).schedule(1.0).offsets_ns[0] == 100_000_000


def test_a_constant_rate_is_a_metronome():
    """Every gap of Constant is 1/rate to the nanosecond, without drift, whatever the seed."""
    schedule = Constant(3).schedule(1000.0, seed=1)
    assert np.all(np.abs(np.diff(schedule.offsets_ns) - 1e9 / 3) <= 1)
    assert len(schedule) == 2999
    assert abs(schedule.offsets_ns[-1] - 2999 * 1e9 / 3) <= 1
    assert Constant(3).schedule(1000.0, seed=2).digest == schedule.digest


def test_replay_returns_the_recording():
    """Replay's schedule is its offsets, cut at the duration."""
    replay = Replay([0.0, 0.25, 0.25, 3.0])
    assert replay.schedule().offsets_ns.tolist() == [0, 250_000_000, 250_000_000, 3_000_000_000]
    assert len(replay.schedule(3.0)) == 3
    assert replay.mean_rate == pytest.approx(4 / 3)


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, True, "10"])
@pytest.mark.parametrize("make", [Poisson, Constant, lambda rate: Gamma(rate, 1), lambda cv: Gamma(1, cv)])
def test_impossible_rates_are_refused(make, bad):
    """A rate or cv that is not a finite positive number is refused, and the message shows it."""
    with pytest.raises(ValidationError, match=repr(bad)):
        make(bad)


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf])
@pytest.mark.parametrize("process", [Poisson(1), Gamma(1, 2), Constant(1), Replay([1.0])])
def test_impossible_durations_are_refused(process, bad):
    """A duration that is not a finite positive number is refused."""
    with pytest.raises(ValidationError, match="duration"):
        process.schedule(bad, 0)


@pytest.mark.parametrize("bad", [[], [1.0, 0.5], [-1.0], [math.nan], [math.inf], [[1.0]]])
def test_impossible_recordings_are_refused(bad):
    """Offsets that are empty, decreasing, negative, not finite or not flat are refused."""
    with pytest.raises(ValidationError):
        Replay(bad)


@pytest.mark.parametrize("process", [Poisson(7), Gamma(7, 3), Constant(7), Replay([0.1, 0.9])])
def test_every_process_fits_the_protocol(process):
    """Each process has a schedule, a mean rate and an identity of plain JSON values."""
    assert isinstance(process, ArrivalProcess)
    assert process.mean_rate > 0
    assert all(isinstance(value, str | int | float) for value in process.identity.values())


def test_a_schedule_is_frozen_and_identified_by_its_offsets():
    """A schedule copies what it is given, cannot be written to, and equal offsets have equal digests."""
    offsets = np.array([1, 5, 9])
    schedule = Schedule(offsets, seed=4)
    offsets[0] = 0
    assert schedule.offsets_ns.tolist() == [1, 5, 9]
    with pytest.raises(ValueError, match="read-only"):
        schedule.offsets_ns[0] = 3
    assert schedule.digest == Schedule(np.array([1, 5, 9])).digest
    assert schedule != Schedule(np.array([1, 5, 9]), seed=5)
    assert len({schedule, Schedule(np.array([1, 5, 9], np.int32), seed=4)}) == 1


@pytest.mark.parametrize("bad", [[[1]], [1.5], [-1, 2], [3, 2], ["a"]])
def test_impossible_schedules_are_refused(bad):
    """Offsets that are not flat, whole, non-negative and in order are refused."""
    with pytest.raises(ValidationError):
        Schedule(np.array(bad))


@pytest.mark.parametrize("bad", [0, -1, True, 1.5, "4"])
def test_impossible_closed_loops_are_refused(bad):
    """Users and requests are whole numbers above zero."""
    with pytest.raises(ValidationError, match="concurrency"):
        ClosedLoop(bad, 5)
    with pytest.raises(ValidationError, match="requests"):
        ClosedLoop(5, bad)
