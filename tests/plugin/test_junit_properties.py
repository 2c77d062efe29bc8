"""The figures as properties of the test case in JUnit's file."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from tests.plugin.conftest import CALM_CONFTEST, Bench

GATED = """
from pytest_inferbench import SLO

async def test_gated(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.meets(SLO(p50="1ms", error_rate="1%"))
"""


@pytest.mark.parametrize(
    ("options", "runs"), [((), 1), (("-n1",), 1), (("--reruns=1",), 2)], ids=["plain", "xdist", "rerun"]
)
def test_each_figure_stands_once_at_its_test_case(bench: Bench, options: tuple[str, ...], runs: int) -> None:
    """Estimates, intervals and outcomes survive xdist; of a rerun, only the last attempt's stand there."""
    bench.pytester.makeconftest(CALM_CONFTEST)
    bench.configure(profiles={"baseline": {"answer": 0.1}})
    bench.pytester.makepyfile(GATED)
    session = bench.run("--junit-xml=junit.xml", *options)
    found = [
        (one.get("name", ""), one.get("value", ""))
        for one in ElementTree.parse(bench.path / "junit.xml").iter("property")
    ]
    properties = dict(found)
    assert len(properties) == len(found), "no name occurs twice"
    last = session.measurements[-1]
    head = "inferbench.steady.baseline"
    assert properties[f"{head}.runs"] == str(len(last["runs"])) == str(runs)
    assert float(properties[f"{head}.p50"]) == last["figures"]["p50"]["estimate"]
    assert properties[f"{head}.p50.interval"] == " ".join(map(str, last["figures"]["p50"]["interval"]))
    (verdict,) = last["verdicts"]
    assert properties[f"{head}.slo"] == verdict["outcome"]
    assert properties[f"{head}.slo.p50"] == verdict["checks"][0]["outcome"]
    assert properties[f"{head}.slo.p50.limit"] == "0.001"


def test_tests_that_measure_nothing_get_no_property(bench: Bench) -> None:
    """A test case of somebody else stays as it is."""
    bench.pytester.makepyfile("def test_other(record_property):\n    record_property('own', 1)")
    bench.run("--junit-xml=junit.xml", "-ojunit_family=xunit1")
    assert [one.get("name") for one in ElementTree.parse(bench.path / "junit.xml").iter("property")] == ["own"]
