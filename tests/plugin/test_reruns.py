"""A test that is run again after a failure adds to its runs: it does not roll the dice again."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import Bench

GATED = """
async def test_gated(inference_service, steady):
    measurement = await steady.measure(inference_service)
    print("runs:", len(measurement.runs))
    measurement.has_not_regressed(metrics=["p50"])
    assert len(measurement.runs) > 6, "each attempt fails, whatever the machine makes of the latencies"
"""


def test_a_rerun_is_judged_by_the_runs_of_all_attempts(bench: Bench) -> None:
    """pytest-rerunfailures runs a failed test twice more: each attempt adds runs of new seeds to the old ones."""
    bench.configure(profiles={"baseline": {}, "other": {}}, duration="0.3s")
    bench.pytester.makepyfile(GATED)
    session = bench.run("--profile=other", "--against=baseline", "--reruns=2", repeats=2)
    assert session.result.ret == pytest.ExitCode.TESTS_FAILED
    attempts = session.measurements
    assert [len(attempt["runs"]) for attempt in attempts] == [2, 4, 6]
    seeds = [run["seed"] for run in attempts[-1]["runs"]]
    assert seeds == [0, 1, 2, 3, 4, 5]
    assert attempts[-1]["runs"][:2] == attempts[0]["runs"]
    assert "a rerun: 4 of these 6 runs are those of earlier attempts" in attempts[-1]["verdicts"][0]["explanation"]
    assert len(session.verdicts) == 3
