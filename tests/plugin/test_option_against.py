"""--against: two profiles interleaved in one session, and compared."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import ONE_MEASUREMENT, Bench

TWO = {"baseline": {"answer": 0.04}, "slow": {"answer": 0.4}}
GATED = """
async def test_gated(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.has_not_regressed(metrics=["p50"])
"""


def test_both_sides_are_measured_in_turns_compared_and_recorded(bench: Bench) -> None:
    """The reference is booted in between (ABBA), shares the schedules, and stands in summary, JSON and store."""
    bench.configure(profiles=TWO)
    bench.pytester.makepyfile(GATED)
    session = bench.run("--profile=slow", "--against=baseline", "--update-baselines", repeats=2)
    assert [boot["profile"]["name"] for boot in bench.boots] == ["baseline", "slow", "slow", "baseline"]
    (measurement,) = session.measurements
    reference = measurement["reference"]
    assert reference["label"] == "profile baseline"
    assert [run["digest"] for run in reference["runs"]] == [run["digest"] for run in measurement["runs"]]
    assert [run["payload_digest"] for run in reference["runs"]] == [r["payload_digest"] for r in measurement["runs"]]
    assert {check["metric"] for check in reference["comparisons"]} >= {"p50", "p95", "throughput", "error_rate"}
    p50 = next(check for check in reference["comparisons"] if check["metric"] == "p50")
    assert p50["ratio"] > 5
    assert session.document is not None
    assert session.document["settings"]["against"] == "baseline"
    session.result.stdout.fnmatch_lines(["steady *", "  vs profile baseline *", "  regression *"])
    assert [path.partition("/")[0] for path in bench.baselines] == ["baseline", "slow"]


def test_a_slower_candidate_fails_its_test(bench: Bench) -> None:
    """Ten times slower than the reference of the same session is REGRESSED, and fails the test in its call phase."""
    bench.configure(profiles=TWO)
    bench.pytester.makepyfile(GATED)
    session = bench.run("--profile=slow", "--against=baseline", repeats=2)
    session.result.assert_outcomes(failed=1)
    assert session.verdicts == ["REGRESSED"]
    assert session.result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_profile_cannot_be_its_own_reference(bench: Bench) -> None:
    """``--profile X --against X`` is a usage error: there would be nothing to compare."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run("--profile=baseline", "--against=baseline")
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    session.result.stderr.fnmatch_lines(["ERROR: inferbench: --against baseline is the profile under test itself*"])


def test_an_unknown_reference_is_named_as_such(bench: Bench) -> None:
    """A misspelled reference is told apart from a misspelled profile."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    bench.configure(profiles=TWO)
    session = bench.run("--profile=slow", "--against=basline")
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    session.result.stderr.fnmatch_lines(["*--against: unknown profile 'basline'; did you mean 'baseline'?*"])


def test_the_reference_among_the_profiles_under_test_is_measured_alone(bench: Bench) -> None:
    """``--profile A --profile B --against A``: A has no reference and says so, B is compared with A."""
    bench.configure(profiles=TWO)
    bench.pytester.makepyfile(GATED)
    session = bench.run("--profile=baseline", "--profile=slow", "--against=baseline")
    assert session.verdicts == ["NO_BASELINE", "INCONCLUSIVE"]
    assert len(bench.boots) == 3
