from collections.abc import Callable

from pytest_inferbench import (
    SLO,
    BoundWorkload,
    Capacity,
    CapacityFinder,
    Comparison,
    CostCurve,
    Gamma,
    InferenceService,
    Measurement,
    Verdict,
)

INTERACTIVE = SLO(p95="250ms", error_rate="2%")


def comparisons(verdict: Verdict) -> list[Comparison]:
    return [check for check in verdict.checks if isinstance(check, Comparison)]


async def test_bursty_traffic(inference_service: InferenceService, bursty: BoundWorkload) -> None:
    measurement: Measurement = await bursty.measure(inference_service, size=lambda payload: len(payload["text"]))
    assert measurement.meets(INTERACTIVE)
    verdict = measurement.has_not_regressed(metrics=("p50", "p95"), margin="5%")
    assert verdict, [comparison.ratio for comparison in comparisons(verdict)]
    curve: CostCurve = measurement.cost_curve()
    assert curve.slope < 0.01


async def test_spike(inference_service: InferenceService, workload: Callable[..., BoundWorkload]) -> None:
    measurement = await workload("spike", Gamma(20, 4), duration=10).measure(inference_service)
    assert measurement.meets(INTERACTIVE)


async def test_capacity(inference_service: InferenceService, capacity: CapacityFinder) -> None:
    found: Capacity = await capacity.find(inference_service, INTERACTIVE)
    assert found.rate > 20
