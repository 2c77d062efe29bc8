"""--inferbench-seed: the arrivals and payloads of run k are those of seed + k."""

from __future__ import annotations

from tests.plugin.conftest import ONE_MEASUREMENT, Bench


def test_the_same_seed_gives_the_same_schedule_in_another_session(bench: Bench) -> None:
    """Run 2 of seed 5 and run 1 of seed 6 are issued the same schedule, and different from run 1 of seed 5."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    five = bench.run("--inferbench-seed=5", repeats=2).measurements[0]["runs"]
    six = bench.run("--inferbench-seed=6").measurements[0]["runs"]
    assert [run["seed"] for run in five] == [5, 6]
    assert five[1]["digest"] == six[0]["digest"] != five[0]["digest"]
