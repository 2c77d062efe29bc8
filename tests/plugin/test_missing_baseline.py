"""NO_BASELINE: passes at a desk, fails in CI and under --inferbench-strict."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import Bench

GATED = """
async def test_gated(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.has_not_regressed(metrics=["p50"])
"""


@pytest.mark.parametrize(
    ("ci", "options", "passes"),
    [
        ("", (), True),
        ("1", (), False),
        ("1", ("--inferbench-allow-missing",), True),
        ("", ("--inferbench-strict",), False),
    ],
)
def test_a_missing_baseline(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, ci: str, options: tuple[str, ...], passes: bool
) -> None:
    """Whether NO_BASELINE fails depends on CI and the options alone; it always says how to get a baseline."""
    monkeypatch.setenv("CI", ci)
    bench.pytester.makepyfile(GATED)
    session = bench.run(*options)
    session.result.assert_outcomes(passed=int(passes), failed=int(not passes))
    assert session.verdicts == ["NO_BASELINE"]
    reasons = session.measurements[0]["verdicts"][0]["reasons"]
    assert "record one with --update-baselines, or compare within the session with --against" in reasons[0]


def test_a_baseline_of_another_machine_is_named_but_not_used(bench: Bench) -> None:
    """Another machine's baseline is no reference; the message says which machine has one."""
    bench.pytester.makepyfile(GATED)
    bench.run("--update-baselines")
    (folder,) = (bench.path / "baselines" / "baseline").iterdir()
    folder.rename(folder.with_name("abacus-1cpu"))
    session = bench.run()
    assert session.verdicts == ["NO_BASELINE"]
    shown = " ".join(session.result.stdout.str().split())
    assert "another machine); record one with --update-baselines, or compare within the session with --against" in shown
    assert "there is one for abacus-1cpu: another machine" in session.measurements[0]["verdicts"][0]["reasons"][0]


def test_strict_fails_what_could_not_be_told(bench: Bench) -> None:
    """One pair is INCONCLUSIVE and an SLO on too few requests UNCERTAIN: passed by default, failed when strict."""
    bench.configure(rate=60)
    bench.pytester.makepyfile(
        """
        from pytest_inferbench import SLO

        async def test_slo(inference_service, steady):
            assert (await steady.measure(inference_service)).meets(SLO(p99="10s"))
        """
    )
    lenient, strict = bench.run(), bench.run("--inferbench-strict")
    assert lenient.verdicts == strict.verdicts == ["UNCERTAIN"]
    lenient.result.assert_outcomes(passed=1)
    strict.result.assert_outcomes(failed=1)
