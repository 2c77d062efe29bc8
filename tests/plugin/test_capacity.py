"""The capacity fixture: the highest rate at which an SLO holds."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import Bench

# One answer at a time, 10 ms each: at most 100 per second can be served.
SERIAL = {"baseline": {"answer": 0.01, "serial": True}}


@pytest.fixture
def found(bench: Bench) -> dict[str, object]:
    """The record of a search over a service that serves one request at a time."""
    bench.configure(profiles=SERIAL)
    bench.pytester.makepyfile("""
        from pytest_inferbench import SLO

        async def test_capacity(inference_service, capacity):
            found = await capacity.find(inference_service, SLO(p95="60ms"), boots=2, duration="1.5s", precision="20%")
            assert found.rate > 10
    """)
    session = bench.run()
    session.result.assert_outcomes(passed=1)
    session.result.stdout.fnmatch_lines(["capacity baseline: */s (* to *) under p95 60.0 ms; 2 boots, * runs"])
    assert session.document is not None
    (record,) = session.document["capacities"]
    return dict(record)


def test_the_search_brackets_what_the_service_can_do(found: dict[str, object]) -> None:
    """The rate lies below the service's limit; every boot has a rate that held and one, a step above, that did not."""
    probes, boots = found["probes"], found["boots"]
    assert isinstance(probes, list)
    assert isinstance(boots, list)
    assert isinstance(found["rate"], float)
    assert 20 < found["rate"] < 100
    low, high = found["interval"]  # type: ignore[misc]
    assert low <= found["rate"] <= high
    assert len(boots) == 2
    for number, rate in enumerate(boots, start=1):
        tried = [probe for probe in probes if probe["boot"] == number]
        assert max(probe["rate"] for probe in tried if probe["held"]) == rate
        above = min(probe["rate"] for probe in tried if not probe["held"])
        assert rate < above <= 1.2 * rate * 1.0001


def test_an_slo_that_never_holds_is_an_error(bench: Bench) -> None:
    """No rate can make an answer of 4 ms come within 1 ms: the error says so, and what the service did."""
    bench.configure(profiles={"baseline": {"answer": 0.004, "serial": True}})
    bench.pytester.makepyfile("""
        from pytest_inferbench import SLO

        async def test_capacity(inference_service, capacity):
            await capacity.find(inference_service, SLO(p95="1ms"), boots=1, duration="0.5s")
    """)
    session = bench.run()
    session.result.assert_outcomes(failed=1)
    assert "it does not hold even at" in session.output
    assert "choose one that an idle service meets" in session.output


def test_the_same_search_is_made_once_in_as_many_boots_as_a_measurement_has_runs(bench: Bench) -> None:
    """Two tests ask for the same: the second has the answer at once; another SLO is another search."""
    bench.configure(profiles=SERIAL)
    bench.pytester.makepyfile("""
        from pytest_inferbench import SLO

        SERVER = SLO(p95="60ms")

        async def test_first(inference_service, capacity):
            assert (await capacity.find(inference_service, SERVER, duration="0.5s", precision="50%")).rate

        async def test_second(inference_service, capacity):
            assert (await capacity.find(inference_service, SERVER, duration="0.5s", precision="50%")).rate

        async def test_other(inference_service, capacity):
            assert (await capacity.find(inference_service, SLO(p95="90ms"), boots=1, duration="0.5s")).rate
    """)
    session = bench.run(repeats=2)
    session.result.assert_outcomes(passed=3)
    assert session.document is not None
    assert [(found["test"].split("::")[-1], len(found["boots"])) for found in session.document["capacities"]] == [
        ("test_first", 2),
        ("test_other", 1),
    ]
    assert len(bench.boots) == 3


def test_a_search_with_other_payloads_or_another_target_is_made_again(bench: Bench) -> None:
    """What one test found with its payloads and headers is no answer for another's."""
    bench.configure(profiles=SERIAL)
    bench.pytester.makepyfile("""
        from dataclasses import replace
        from pytest_inferbench import SLO, Target

        async def test_all(inference_service, capacity):
            target = Target("/predict", headers={"X-Key": "other"})
            for finder in (capacity, replace(capacity, payloads=["other"]), replace(capacity, target=target), capacity):
                await finder.find(inference_service, SLO(p95="60ms"), boots=1, duration="0.3s", precision="90%")
    """)
    session = bench.run()
    session.result.assert_outcomes(passed=1)
    assert len(bench.boots) == 3
