"""What a failing assert shows, and where."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from tests.plugin.conftest import Bench


@pytest.fixture(autouse=True)
def _slow_service(bench: Bench) -> None:
    """Answers of 100 ms, which no limit here allows."""
    bench.configure(profiles={"baseline": {"answer": 0.1}})


FAILING = """
from pytest_inferbench import SLO

STRICT = SLO(p50="1ms", p90="1ms", p95="1ms", error_rate="1%", throughput="9000/s")

async def test_plain(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.meets(STRICT)

async def test_with_words(inference_service, steady):
    measurement = await steady.measure(inference_service)
    verdict = measurement.meets(STRICT)
    assert verdict, "the promise to our customers"

async def test_without_assert(inference_service, steady):
    measurement = await steady.measure(inference_service)
    if not measurement.meets(STRICT):
        raise RuntimeError("too slow")
"""


def test_a_failing_assert_shows_the_whole_explanation(bench: Bench) -> None:
    """Every line of the verdict stands in the E lines, unshortened, and in the JUnit file as a failure of the call."""
    bench.pytester.makepyfile(FAILING)
    session = bench.run("--junit-xml=junit.xml", "-k", "not without")
    session.result.assert_outcomes(failed=2)
    shown = [line[1:].strip() for line in session.output.splitlines() if line.startswith("E ")]
    cases = {case.get("name"): case for case in ElementTree.parse(bench.path / "junit.xml").iter("testcase")}
    for measurement in session.measurements:
        (verdict,) = measurement["verdicts"]
        head, *rest = verdict["explanation"].splitlines()
        assert head.startswith("MISSED: ")
        assert len(rest) >= 5
        assert head in shown or f"AssertionError: {head}" in shown
        assert [line.strip() for line in rest if line.strip() not in shown] == []
        case = cases[measurement["test"].partition("::")[2]]
        assert case.find("error") is None, "a failure of the test, not an error of its set-up"
        failure = case.find("failure")
        assert failure is not None
        assert failure.text is not None
        assert [line for line in (head, *rest) if line.strip() not in failure.text] == []
    plain = cases["test_plain"].find("failure")
    assert plain is not None
    assert plain.get("message", "").startswith("AssertionError: MISSED: ")


def test_what_the_user_says_stays(bench: Bench) -> None:
    """An assert with a message of its own keeps it, and an exception of the user's is not touched."""
    bench.pytester.makepyfile(FAILING)
    session = bench.run("-k", "words or without")
    session.result.stdout.fnmatch_lines(["E*AssertionError: the promise to our customers*"])
    session.result.stdout.fnmatch_lines(["E*RuntimeError: too slow"])
    session.result.stdout.fnmatch_lines(["*- inferbench -*", "MISSED: *", "  MISSED * p50 *"])


def test_a_verdict_that_fails_nothing_is_not_explained(bench: Bench) -> None:
    """A test that expects the service to be slow passes, and its report carries no explanation."""
    bench.pytester.makepyfile(
        """
        from pytest_inferbench import SLO

        async def test_slow_it_is(inference_service, steady):
            measurement = await steady.measure(inference_service)
            assert not measurement.meets(SLO(p50="1ms"))
        """
    )
    session = bench.run("-rA")
    session.result.assert_outcomes(passed=1)
    assert session.verdicts == ["MISSED"]
    assert "- inferbench -" not in session.output
