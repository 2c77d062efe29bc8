"""A fault of a report is neither the test's nor another report's, and it is not silent."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import ONE_MEASUREMENT, Bench


def broken(*args: object, **kwargs: object) -> object:
    """A report that cannot be made."""
    raise RuntimeError("no such glyph")


@pytest.fixture
def one(bench: Bench) -> Bench:
    """A project with one test that measures and passes."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    return bench


def test_a_record_that_cannot_be_made_fails_no_test(one: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test passes, the summary says what happened, and the session as a whole does not count as passed."""
    monkeypatch.setattr("pytest_inferbench.report.record.measurement_record", broken)
    session = one.run()
    session.result.assert_outcomes(passed=1)
    session.result.stdout.fnmatch_lines(["*the record of *test_steady could not be made: RuntimeError: no such glyph*"])
    assert session.result.ret != pytest.ExitCode.OK


def test_a_page_that_cannot_be_made_costs_no_other_report(one: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON result and the Markdown are written although the HTML report could not be."""
    monkeypatch.setattr("pytest_inferbench.report.html.html", broken)
    session = one.run("--inferbench-html=page.html", "--inferbench-markdown=page.md")
    session.result.assert_outcomes(passed=1)
    assert len(session.measurements) == 1
    assert (one.path / "page.md").exists()
    assert not (one.path / "page.html").exists()
    session.result.stdout.fnmatch_lines(
        ["*--inferbench-html: *page.html could not be made: RuntimeError: no such glyph*"]
    )
    assert session.result.ret != pytest.ExitCode.OK


def test_a_summary_that_cannot_be_made_costs_no_file(one: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal says so, and pytest's own summary follows."""
    monkeypatch.setattr("pytest_inferbench.report.terminal.summary", broken)
    session = one.run()
    session.result.assert_outcomes(passed=1)
    assert len(session.measurements) == 1
    session.result.stdout.fnmatch_lines(["the summary could not be made: RuntimeError: no such glyph", "*1 passed*"])


def test_what_a_fixture_measured_has_the_verdicts_of_its_test(bench: Bench) -> None:
    """The record is made when the test is over: a measurement of the set-up knows what was asserted of it later."""
    bench.pytester.makepyfile(
        """
        import pytest_asyncio
        from pytest_inferbench import SLO

        @pytest_asyncio.fixture
        async def measured(inference_service, steady):
            return await steady.measure(inference_service)

        async def test_later(measured):
            assert measured.meets(SLO(p50="10s"))
        """
    )
    bench.configure(profiles={"baseline": {"answer": 0.1}})
    session = bench.run()
    session.result.assert_outcomes(passed=1)
    assert session.verdicts == ["MET"]
