"""Measuring from a test: the fixtures, their overrides, and async tests that need no configuration."""

from __future__ import annotations

import json

import pytest

from tests.plugin.conftest import ONE_MEASUREMENT, Bench


@pytest.mark.usefixtures("_real_examination")
def test_the_four_workload_fixtures_measure_without_any_asyncio_configuration(bench: Bench) -> None:
    """Async tests of every workload fixture run, and each leaves one measurement of its own workload."""
    bench.pytester.makepyfile(
        """
        from pytest_inferbench import Constant

        async def test_steady(inference_service, steady):
            assert len((await steady.measure(inference_service)).runs) == 1

        async def test_bursty(inference_service, bursty):
            assert len((await bursty.measure(inference_service)).runs) == 1

        async def test_high(inference_service, high_intensity):
            assert len((await high_intensity.measure(inference_service)).runs) == 1

        async def test_own(inference_service, workload):
            own = workload("ticks", Constant(50), duration=0.5)
            measurement = await own.measure(inference_service, repeats=2)
            assert [len(run) for run in measurement.runs] == [24, 24]
        """
    )
    session = bench.run()
    session.result.assert_outcomes(passed=4)
    shapes = [(m["workload"]["name"], m["workload"]["process"], len(m["runs"])) for m in session.measurements]
    assert shapes == [
        ("steady", "poisson", 1),
        ("bursty", "gamma", 1),
        ("high_intensity", "poisson", 1),
        ("ticks", "constant", 2),
    ]
    assert [boot["profile"]["name"] for boot in bench.boots] == ["baseline"] * 5
    assert session.measurements[0]["runs"][0]["server_timing"] == {"queue": 1.5, "infer": 2.5}


def test_async_tests_that_reach_the_fixtures_indirectly_or_sit_in_classes_are_run(bench: Bench) -> None:
    """A fixture of ours behind a user's fixture, and async methods, are enough to be run on an event loop."""
    bench.pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def traffic(steady):
            return steady

        @pytest.fixture
        def service(inference_service):
            return inference_service

        async def test_indirect(service, traffic):
            assert (await traffic.measure(service)).profile == "baseline"

        class TestMethods:
            async def test_method(self, inference_service):
                assert inference_service.profile == "baseline"

            @staticmethod
            async def test_static(inference_service):
                assert inference_service.profile == "baseline"
        """
    )
    session = bench.run()
    session.result.assert_outcomes(passed=3)
    assert len(session.measurements) == 1


def test_async_tests_without_our_fixtures_are_left_alone(bench: Bench) -> None:
    """Marking is limited to our own users: another async test fails as it would without this plugin."""
    bench.pytester.makepyfile("async def test_other(): pass")
    result = bench.run().result
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*async def functions are not natively supported*"])


def test_a_conftest_overrides_target_and_payloads(bench: Bench) -> None:
    """The user's method, path, headers and payloads are what the service gets, the same for the same seed."""
    bench.pytester.makeconftest(
        """
        import pytest
        from pytest_inferbench import Target

        @pytest.fixture(scope="session")
        def inference_target():
            return Target("/items/1", method="PUT", headers={"Authorization": "Bearer abc"})

        @pytest.fixture(scope="session")
        def inference_payloads():
            return lambda count, rng: [{"number": int(n)} for n in rng.integers(100, size=count)]
        """
    )
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    first, second = bench.run(), bench.run()
    requests = bench.requests
    assert {(r["method"], r["path"], r["headers"]["authorization"]) for r in requests} == {
        ("PUT", "/items/1", "Bearer abc")
    }
    assert all(0 <= json.loads(r["body"])["number"] < 100 for r in requests)
    assert len({r["body"] for r in requests}) > 5
    assert first.measurements[0]["runs"][0]["payload_digest"] == second.measurements[0]["runs"][0]["payload_digest"]


def test_a_get_endpoint_without_payloads(bench: Bench) -> None:
    """Without a payloads fixture a GET target is sent no body at all."""
    bench.pytester.makepyfile(
        """
        from pytest_inferbench import Target

        async def test_get(inference_service, workload):
            one = workload("gets", rate=80, duration=0.5, target=Target("/health", method="GET"))
            measurement = await one.measure(inference_service)
            assert measurement.runs[0].error_rate == 0
        """
    )
    bench.run().result.assert_outcomes(passed=1)
    assert {(r["method"], r["path"], r["body"]) for r in bench.requests} == {("GET", "/health", "")}


def test_a_payloads_fixture_that_returns_too_few_is_told_so(bench: Bench) -> None:
    """A payload function is held to its contract before anything is booted."""
    bench.pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def inference_payloads():
            return lambda count, rng: [{}]
        """
    )
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run()
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(["E*inference_payloads was asked for * payloads and returned 1*"])
    assert bench.boots == []


def test_running_boots_the_service_outside_of_a_measurement(bench: Bench) -> None:
    """``running()`` yields the URL of a live service and ends it, under another profile too."""
    bench.configure(profiles={"baseline": {}, "other": {"status": 418}})
    bench.pytester.makepyfile(
        """
        import httpx

        def test_url(inference_service):
            with inference_service.running() as url:
                assert httpx.get(url + "/x", trust_env=False).status_code == 200
            with inference_service.under("other").running() as url:
                assert httpx.get(url + "/x", trust_env=False).status_code == 418
        """
    )
    session = bench.run()
    session.result.assert_outcomes(passed=1)
    assert [boot["profile"]["name"] for boot in bench.boots] == ["baseline", "other"]
