"""--inferbench-selfcheck: the service against itself."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import ONE_MEASUREMENT, Bench


def test_the_noise_and_what_can_be_detected_are_reported(bench: Bench) -> None:
    """Both sides are the profile under test; the summary and the JSON say how noisy the machine is."""
    bench.configure(profiles={"baseline": {"answer": 0.005}})
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run("--inferbench-selfcheck", "--inferbench-turns=100ms", repeats=3)
    assert {boot["profile"]["name"] for boot in bench.boots} == {"baseline"}
    assert len(bench.boots) == 6
    (measurement,) = session.measurements
    check = measurement["selfcheck"]
    assert (check["pairs"], check["repeats"], check["draws"]) == (3, 3, 200)
    assert [noise["metric"] for noise in check["noise"]] == ["p50", "p95"]
    assert check["seconds"] > 0
    for noise in check["noise"]:
        assert noise["turns"] > 0
        assert noise["boots"] >= 0
        low, high = noise["interval"]
        assert 0 < low < noise["sd"] < high
        assert 0.05 < noise["detectable"] < noise["at_worst"]
    session.result.stdout.fnmatch_lines(["  vs itself *", "  self-check *between turns *, boots *", "*false alarms: *"])


def test_it_is_stored_with_the_baseline_and_quoted_by_later_verdicts(bench: Bench) -> None:
    """Recorded by --update-baselines, the self-check stands in the reasons of what is held against that baseline."""
    bench.configure(profiles={"baseline": {"answer": 0.005}})
    bench.pytester.makepyfile("""
        async def test_gated(inference_service, steady):
            measurement = await steady.measure(inference_service)
            assert measurement.has_not_regressed(margin="100%")
    """)
    bench.run("--inferbench-selfcheck", "--update-baselines", repeats=3)
    session = bench.run(repeats=3)
    (measurement,) = session.measurements
    assert measurement["reference"]["label"].startswith("baseline ")
    (verdict,) = measurement["verdicts"]
    assert any("self-check of this machine: noise between boots p50" in reason for reason in verdict["reasons"])


def test_it_does_not_go_with_another_reference(bench: Bench) -> None:
    """Against itself and against something else at once is a contradiction, told before anything runs."""
    bench.configure(profiles={"baseline": {}, "other": {}})
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run("--inferbench-selfcheck", "--against=other")
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--inferbench-selfcheck measures the service against itself" in session.everything
