"""--inferbench-markdown, and what GitHub Actions shows by itself: the step summary and the annotations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin.conftest import CALM_CONFTEST, ONE_MEASUREMENT, Bench

GATED = """
from pytest_inferbench import SLO

async def test_gated(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.meets(SLO(throughput="9000/s"))
"""


def test_the_verdict_comes_first_then_the_table(bench: Bench) -> None:
    """The first line is the gravest outcome; a row per check, and the explanation and the figures are folded below."""
    bench.configure(profiles={"baseline": {"answer": 0.1}})
    bench.pytester.makepyfile(GATED)
    session = bench.run("--inferbench-markdown=out/report.md")
    text = (bench.path / "out/report.md").read_text(encoding="utf-8")
    head, _, rest = text.partition("\n")
    assert head == "## inferbench: MISSED: 1 of 1 verdict"
    (verdict,) = session.measurements[0]["verdicts"]
    assert "| **MISSED** | test\\_gated | baseline | throughput |" in rest
    folded = rest.partition("<details>")[2]
    assert verdict["explanation"] in folded
    assert "All figures, with their intervals" in folded
    session.result.stdout.fnmatch_lines(["result written to *report.md"])


def test_a_session_without_verdicts_says_so(bench: Bench) -> None:
    """What was measured but not judged is shown as such, not as fine."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    bench.run("--inferbench-markdown=report.md")
    text = (bench.path / "report.md").read_text(encoding="utf-8")
    assert text.startswith("## inferbench: measured, but no test asserted anything\n")
    assert "| test\\_steady | steady | profile baseline | 1 |" in text


def test_the_step_summary_is_added_to(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In GitHub Actions the same text is appended to the step's summary without being asked for, once."""
    summary = tmp_path / "summary.md"
    summary.write_text("what another step wrote\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    bench.pytester.makepyfile(GATED)
    bench.run("-n1", "--inferbench-markdown=report.md")
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("what another step wrote\n")
    assert text.count("## inferbench: ") == 1
    assert (bench.path / "report.md").read_text(encoding="utf-8") in text


def test_a_session_that_measures_nothing_leaves_the_step_summary_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those who have the plugin installed and do not use it find nothing of it in their summary."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    bench.pytester.makepyfile("def test_nothing(): pass")
    assert bench.pytester.runpytest_inprocess("--profile=baseline").ret == 0
    assert not (tmp_path / "summary.md").exists()


@pytest.mark.parametrize("processes", [(), ("-n1",)], ids=["one process", "xdist"])
def test_a_failure_is_marked_at_the_line_of_the_assert(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, processes: tuple[str, ...]
) -> None:
    """In GitHub Actions the explanation stands beside the assert, with a path as the repository has it."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(bench.path.parent))
    bench.pytester.makeconftest(CALM_CONFTEST)
    bench.configure(profiles={"baseline": {"answer": 0.1}})
    bench.pytester.makepyfile(GATED)
    session = bench.run(*processes)
    (command,) = [line for line in session.output.splitlines() if line.startswith("::error ")]
    file = next(bench.path.glob("test_*.py"))
    place, _, message = command.removeprefix("::error ").partition("::")
    assert place == f"file={bench.path.name}/{file.name},line=5,title=inferbench%3A test_gated"
    explanation = session.measurements[0]["verdicts"][0]["explanation"]
    assert message == explanation.replace("%", "%25").replace("\n", "%0A")


def test_a_service_that_does_not_boot_is_marked_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure without a verdict says what went wrong."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    bench.configure(profiles={"baseline": {"exit": "no such model"}})
    bench.pytester.makepyfile(GATED)
    session = bench.run()
    (command,) = [line for line in session.output.splitlines() if line.startswith("::error ")]
    assert "no such model" in command


def test_nothing_is_marked_elsewhere(bench: Bench) -> None:
    """Outside of GitHub Actions no workflow command is printed."""
    bench.pytester.makepyfile(GATED)
    assert "::error" not in bench.run().output
