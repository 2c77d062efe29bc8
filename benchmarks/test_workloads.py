"""The paper's three workloads against the service: SLOs, and no regression against the reference."""

from __future__ import annotations

from pytest_inferbench import SLO

INTERACTIVE = SLO(p95="250ms", error_rate="2%")
UNDER_PRESSURE = SLO(p95="500ms", error_rate="2%")


async def test_steady_traffic(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.meets(INTERACTIVE)
    assert measurement.has_not_regressed(metrics=("p50", "p95"), margin="5%")


async def test_bursty_traffic(inference_service, bursty):
    measurement = await bursty.measure(inference_service)
    assert measurement.meets(INTERACTIVE)
    assert measurement.has_not_regressed(metrics=("p50", "p95"), margin="5%")


async def test_high_intensity_traffic(inference_service, high_intensity):
    measurement = await high_intensity.measure(inference_service)
    assert measurement.meets(UNDER_PRESSURE)
    assert measurement.has_not_regressed(metrics=("p50", "p95", "error_rate"), margin="5%")
