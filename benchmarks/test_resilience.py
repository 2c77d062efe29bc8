"""The paper's resilience question: what each disruption costs, and what a second worker, or a second replica, saves.

``pytest benchmarks/test_resilience.py --profile one_worker --profile k3s --profile k3s-two`` compares one process with
one and two replicas in Kubernetes; any other profiles go as well. The same arrivals and texts for all.
"""

from __future__ import annotations

import numpy as np
import pytest

from pytest_inferbench import (
    SLO,
    ConfigurationError,
    Cordon,
    CpuPressure,
    DeletePod,
    Freeze,
    KillWorker,
    LimitCpu,
    MemoryPressure,
    Resilience,
    Restart,
    Scale,
    SlowNetwork,
)
from pytest_inferbench.stats.paired import mean_of_values
from pytest_inferbench.units import format_seconds

pytestmark = pytest.mark.resilience

INTERACTIVE = SLO(p95="500ms")
#: What has something to spare must do better than what every deployment must.
SPARE = ("two_workers", "k3s-two")
BUDGET, BUDGET_WITH_SPARE = Resilience(recovers_within="30s"), Resilience(max_failed="5%", recovers_within="20s")
DISRUPTIONS = {
    "kill": [KillWorker(at=5)],
    "freeze": [Freeze(at=5, duration=3)],
    "restart": [Restart(at=5, pause=8)],
    "cpu": [CpuPressure(at=5, duration=8, processes=2)],
    "memory": [MemoryPressure(at=5, duration=8, amount="2GiB")],
    "network": [SlowNetwork(at=5, duration=5, delay="300ms")],
    "delete": [DeletePod(at=5)],
    "delete_forced": [DeletePod(at=5, forced=True)],
    "scale": [Scale(at=5, replicas=1, duration=10)],
    "squeeze": [LimitCpu(at=5, cpu="250m", duration=8)],
    "cordon": [Cordon(at=5, duration=10), DeletePod(at=6)],
}
REPEATS = 3
METRICS = {"failed": "failed", "outage": "longest outage", "recovery": "recovery time", "lost": "lost goodput"}


@pytest.fixture(scope="module")
def found(request):
    """What each disruption cost under each profile; printed as one table at the end."""
    impacts = {}
    yield impacts
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\n" + "\n".join(table(impacts)))


@pytest.mark.parametrize("disruption", DISRUPTIONS)
async def test_a_disruption_stays_within_the_budget(inference_service, workload, disruption, found):
    """The same disruption at the same instant of the same arrivals, whatever the service is deployed as."""
    traffic = workload(f"resilience_{disruption}", rate=10, duration=30)
    try:
        measured = await traffic.measure(inference_service, repeats=REPEATS, disruptions=DISRUPTIONS[disruption])
    except ConfigurationError as error:
        pytest.skip(str(error))  # a process has no pods, a single node is not closed
    profile = inference_service.profile
    found.setdefault(disruption, {})[profile] = measured.impacts(INTERACTIVE)
    assert measured.survives(BUDGET_WITH_SPARE if profile in SPARE else BUDGET, slo=INTERACTIVE)


def table(impacts):
    """Return the lines of the comparison: means per run and their intervals."""
    yield f"mean per run (90 % interval), {REPEATS} runs each; SLO p95 {format_seconds(INTERACTIVE.limits['p95'])}"
    yield f"{'':<14} {'':<12}" + "".join(f" {title:>26}" for title in METRICS.values())
    for disruption in DISRUPTIONS:
        for profile, runs in impacts.get(disruption, {}).items():
            cells = (cell(np.array([getattr(run, metric) for run in runs], float), metric) for metric in METRICS)
            yield f"{disruption:<14} {profile:<12}" + "".join(f" {text:>26}" for text in cells)


def cell(values, metric):
    """Return the mean and its interval; a run that never recovered has no number to be averaged."""
    show = (lambda value: f"{value:.1f}") if metric in ("failed", "lost") else (lambda value: f"{value:.2f} s")
    if not np.isfinite(values).all():
        return f"not in {int((~np.isfinite(values)).sum())} of {values.size}"
    mean = mean_of_values(values)
    low, high = mean.interval(0.05)
    return f"{show(mean.mean)} ({show(max(low, 0.0))} to {show(high + 0.0)})"
