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
