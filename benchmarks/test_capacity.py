"""Capacity, "throughput under SLO": the highest rate at which answers are still in time, and what twice that does."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_inferbench import SLO, Poisson
from pytest_inferbench.stats.paired import mean_of_values

SERVER = SLO(p95="250ms", error_rate="1%")
IN_TIME_SECONDS = 0.25
SECONDS = 10.0

pytestmark = pytest.mark.capacity


async def test_capacity(inference_service, capacity):
    """Several profiles in one session (``--profile A --profile B``) end with a table of what each brings."""
    assert (await capacity.find(inference_service, SERVER)).rate > 0


async def test_twice_the_capacity_is_no_collapse(inference_service, capacity, workload, capsys):
    """A service that refuses what it cannot serve in time keeps 80 % of its capacity; one that queues keeps little."""
    if inference_service.profile != "optimized":
        pytest.skip("only the profile optimized refuses anybody")
    found = await capacity.find(inference_service, SERVER)
    overload = workload("twice the capacity", Poisson(2 * found.rate), duration=SECONDS)
    measurement = await overload.measure(inference_service)
    goodput = np.array([(run.latencies <= IN_TIME_SECONDS).sum() / SECONDS for run in measurement.runs]) / found.rate
    mean = mean_of_values(goodput)
    low, high = mean.interval(0.05)
    with capsys.disabled():
        print(f"\n  {found!r}; at twice that, in time: {mean.mean:.0%} of it ({low:.0%} to {high:.0%}, {mean.n} boots)")
        print("  " + ", ".join(f"{share:.0%}" for share in goodput))
    assert mean.mean >= 0.8


async def test_optimized_has_several_times_the_capacity_of_baseline(inference_service, capacity, capsys):
    """What all levels together bring, at the same SLO on the same machine."""
    if inference_service.profile != "optimized":
        pytest.skip("compares the profile optimized with baseline")
    optimized = await capacity.find(inference_service, SERVER)
    baseline = await capacity.find(inference_service.under("baseline"), SERVER)
    with capsys.disabled():
        print(f"\n  {optimized!r} is {optimized.rate / baseline.rate:.1f} x {baseline!r}")
    assert optimized.rate >= 8 * baseline.rate
