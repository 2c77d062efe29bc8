"""--inferbench-control: the revision of a stored baseline is measured beside the checkout."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import Bench
from tests.plugin.test_option_against_revision import git

GATED = """
async def test_gated(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.has_not_regressed(metrics=["p50"], margin="99%")
"""


@pytest.fixture
def recorded(bench: Bench) -> Bench:
    """A repository with a baseline that was recorded from a clean checkout."""
    bench.pytester.makepyfile(GATED)
    (bench.path / ".gitignore").write_text("*.jsonl\nresult.json\n__pycache__\n.pytest_cache\nbaselines\n")
    git(bench.path, "init")
    git(bench.path, "add", ".")
    git(bench.path, "commit", "-m", "first")
    bench.run("--update-baselines", repeats=2)
    return bench


def test_the_checkout_is_judged_against_the_recorded_revision_as_it_runs_now(recorded: Bench) -> None:
    """Both are measured in turns; one sentence separates what the checkout changed from what the machine did."""
    recorded.boots.clear()
    session = recorded.run("--inferbench-control", repeats=3)
    (measurement,) = session.measurements
    commit = git(recorded.path, "rev-parse", "HEAD").strip()
    assert commit[:10] in measurement["reference"]["label"]
    assert "of which baseline 2" in measurement["reference"]["label"]
    assert len(measurement["runs"]) == len(measurement["reference"]["runs"]) == 3
    reasons = " ".join(measurement["verdicts"][0]["reasons"])
    assert "p50: this checkout x" in reasons
    assert "of the recorded revision; the machine x" in reasons
    assert any("loaded in turns" in note for note in measurement["notes"])


def test_a_baseline_of_a_checkout_with_changes_has_no_control(recorded: Bench) -> None:
    """What is in no commit cannot be booted again: the stored baseline alone is compared with, and a note says so."""
    recorded.configure(rate=170)
    assert "--inferbench-control needs one that is in a commit" in recorded.run("--update-baselines", repeats=2).output
    session = recorded.run("--inferbench-control", repeats=2)
    (measurement,) = session.measurements
    assert measurement["reference"]["label"].startswith("baseline ")
    (note,) = measurement["notes"]
    assert "no live control: the baseline was recorded from a checkout with changes" in note
    assert "-dirty" in note


@pytest.mark.parametrize("other", ["against=other", "update-baselines", "selfcheck"])
def test_it_does_not_go_with_another_reference(bench: Bench, other: str) -> None:
    """A contradiction is told before anything runs."""
    bench.configure(profiles={"baseline": {}, "other": {}})
    bench.pytester.makepyfile(GATED)
    session = bench.run("--inferbench-control", f"--inferbench-{other}")
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"it does not go with --inferbench-{other.partition('=')[0]}" in session.everything
