from pytest_inferbench import SLO

INTERACTIVE = SLO(p95="100ms", error_rate="1%")


async def test_steady_traffic(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.meets(INTERACTIVE)
    assert measurement.has_not_regressed(metrics=("p50", "p95"), margin="5%")
