"""--inferbench-duration, --inferbench-budget and --inferbench-repeats, on the command line and as ini keys."""

from __future__ import annotations

from tests.plugin.conftest import ONE_MEASUREMENT, Bench


def test_ini_keys_instead_of_options(bench: Bench) -> None:
    """Every run is as long as the ini file says, and there are as many; the command line wins over the ini file."""
    bench.configure(
        tail='[tool.pytest.ini_options]\ninferbench_duration = "0.2s"\ninferbench_repeats = "2"\n'
        'inferbench_profile = ["baseline"]\ninferbench_storage = "kept"\n'
    )
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run("--update-baselines", repeats=None)
    (measurement,) = session.measurements
    assert measurement["workload"]["duration"] == 0.2
    assert len(measurement["runs"]) == 2
    assert list((bench.path / "kept").glob("*/*/*.json"))
    (again,) = bench.run("--inferbench-duration=300ms", repeats=1).measurements
    assert (again["workload"]["duration"], len(again["runs"])) == (0.3, 1)


def test_a_spent_budget_ends_the_repeats(bench: Bench) -> None:
    """A budget that one run exhausts leaves one run of three; a generous one leaves all."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    (tight,) = bench.run("--inferbench-budget=10ms", repeats=3).measurements
    assert len(tight["runs"]) == 1
    (wide,) = bench.run("--inferbench-budget=1h", repeats=2).measurements
    assert len(wide["runs"]) == 2


GATED = """
async def test_gated(inference_service, steady):
    measurement = await steady.measure(inference_service, metrics=["p50"])
    assert measurement.has_not_regressed(metrics=["p50"])
"""


def test_a_budget_ends_as_soon_as_the_outcome_is_clear(bench: Bench) -> None:
    """Ten times slower is clear at the first look, after 3 of 12 pairs, at a level below alpha; the summary says so."""
    bench.configure(profiles={"baseline": {"answer": 0.004}, "slow": {"answer": 0.04}})
    bench.pytester.makepyfile(GATED)
    session = bench.run("--profile=slow", "--against=baseline", "--inferbench-budget=10min", repeats=None)
    (measurement,) = session.measurements
    assert session.verdicts == ["REGRESSED"]
    assert len(measurement["runs"]) == 3
    assert 0 < measurement["level"] < 0.05
    assert measurement["verdicts"][0]["checks"][0]["alpha"] == measurement["level"]
    session.result.stdout.fnmatch_lines(["*decided at look 1 of 4 (3 pairs)*"])


def test_a_budget_that_ends_an_undecided_measurement_is_named(bench: Bench) -> None:
    """One pair decides nothing; that it was the budget that ended it stands in the reasons."""
    bench.configure(profiles={"baseline": {"delay": 0.004}, "other": {"delay": 0.004}})
    bench.pytester.makepyfile(GATED)
    session = bench.run("--profile=other", "--against=baseline", "--inferbench-budget=10ms", repeats=None)
    assert session.verdicts == ["INCONCLUSIVE"]
    assert "the budget ended" in session.measurements[0]["ended"]
