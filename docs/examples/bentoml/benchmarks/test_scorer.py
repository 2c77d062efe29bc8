from pytest_inferbench import SLO


async def test_steady_traffic(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.meets(SLO(p95="250ms", error_rate="1%"))
    assert measurement.has_not_regressed(metrics=("p50", "p95"), margin="5%")
