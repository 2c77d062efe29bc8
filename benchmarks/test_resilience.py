"""The paper's resilience question: what a killed, frozen or restarted worker costs, with one worker and with two."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_inferbench import (
    SLO,
    CpuPressure,
    Freeze,
    KillWorker,
    MemoryPressure,
    Resilience,
    Restart,
    SlowNetwork,
)
from pytest_inferbench.quantity import format_seconds
from pytest_inferbench.stats.paired import paired_mean

pytestmark = pytest.mark.resilience

INTERACTIVE = SLO(p95="500ms")
#: Of the session's profile, whatever it is, only the number of workers differs.
ONE, TWO = "one_worker", "two_workers"
DISRUPTIONS = {
    "kill": [KillWorker(at=5)],
    "freeze": [Freeze(at=5, duration=3)],
    "restart": [Restart(at=5, pause=8)],
    "cpu": [CpuPressure(at=5, duration=8, processes=2)],
    "memory": [MemoryPressure(at=5, duration=8, amount="2GiB")],
    "network": [SlowNetwork(at=5, duration=5, delay="300ms")],
}
REPEATS = 3


@pytest.mark.parametrize("disruption", DISRUPTIONS)
async def test_two_workers_survive_better_than_one(inference_service, workload, disruption, capsys):
    """The same disruption of one worker and of two, at the same instant of the same arrivals; pairs share a seed."""
    traffic = workload(f"resilience_{disruption}", rate=10, duration=30)
    measured = {}
    for profile in (ONE, TWO):
        measured[profile] = await traffic.measure(
            inference_service.under(profile), repeats=REPEATS, disruptions=DISRUPTIONS[disruption]
        )
    lines = [f"{disruption}, {REPEATS} runs each: mean per run (90 % interval)"]
    impacts = {profile: found.impacts(INTERACTIVE) for profile, found in measured.items()}
    for metric in ("failed", "lost", "outage", "recovery"):
        figures = {profile: np.array([getattr(each, metric) for each in found]) for profile, found in impacts.items()}
        cells = [f"{profile} {_mean(values, metric)}" for profile, values in figures.items()]
        lines.append(f"  {metric:<9} {'; '.join(cells)}; difference {_mean(figures[TWO] - figures[ONE], metric)}")
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert measured[TWO].survives(Resilience(max_failed="5%", recovers_within="20s"), slo=INTERACTIVE)


def _mean(values, metric):
    show = (lambda value: f"{value:.1f}") if metric in ("failed", "lost") else format_seconds
    if not np.isfinite(values).all():
        return "never recovered in " + f"{int((~np.isfinite(values)).sum())} of {values.size}"
    found = paired_mean(values)
    low, high = (end + 0.0 for end in found.interval(0.05))  # not -0.0
    return f"{show(found.mean)} ({show(low)} to {show(high)})"
