"""Workloads of any arrival process from the configuration: ramp, steps, a trace with sizes, a closed loop."""

from __future__ import annotations

from tests.plugin.conftest import Bench

#: Goes on in the table of workloads that the bench begins.
CONFIGURATION = """
climb = { from = "5/s", to = "40/s", duration = "1s" }
stairs = { rates = ["10/s", "40/s"], duration = "1s" }
users = { concurrency = 2, requests = 12, duration = "1s" }
production = { trace = "trace.csv", size = "tokens", start = 5, time_scale = 0.1, duration = "2s" }
"""

TESTS = """
import pytest

@pytest.fixture(scope="session")
def inference_payloads():
    def source(count, rng, sizes=()):
        return ["word " * size for size in sizes] or ["word"] * count
    return source

@pytest.mark.parametrize("name", ["climb", "stairs", "users", "production"])
async def test_it(inference_service, workload, name):
    measurement = await workload(name).measure(inference_service)
    assert measurement.runs[0].error_rate == 0
    assert measurement.runs[0].closed_loop == (name == "users")
"""


def test_every_process_can_be_configured(bench: Bench) -> None:
    """Each runs, says what it is in the result, and a closed loop is called one in the result and in the summary."""
    bench.configure(tail=CONFIGURATION)
    lines = [f"{5 + k * 0.5},{k + 1}" for k in range(30)]
    (bench.path / "trace.csv").write_text("when,tokens\n0,1\n" + "\n".join(lines) + "\n")
    bench.pytester.makepyfile(TESTS)
    session = bench.run(repeats=1)
    session.result.assert_outcomes(passed=4)
    workloads = [measurement["workload"] for measurement in session.measurements]
    assert [w["process"] for w in workloads] == ["ramp", "steps", "closed loop", "replay"]
    assert [w["name"] for w in workloads] == ["climb", "stairs", "users (closed loop)", "production"]
    session.result.stdout.fnmatch_lines(["*users (closed loop)*"])
    assert [run["requests"] for run in session.measurements[2]["runs"]] == [12]
    assert [run["requests"] for run in session.measurements[3]["runs"]] == [30]


def test_a_closed_loop_leaves_no_mark_on_the_plan(bench: Bench) -> None:
    """How long its run takes is up to the service: it says nothing about what a boot costs the next session."""
    bench.configure(tail=CONFIGURATION)
    bench.pytester.makepyfile(TESTS)
    bench.run("-k", "users").result.assert_outcomes(passed=1)
    assert not list(bench.path.glob(".pytest_cache/v/inferbench/*"))


def test_sizes_that_nobody_makes_payloads_of_are_refused(bench: Bench) -> None:
    """A trace with sizes and payloads that do not take them: the test fails and says what to do."""
    bench.configure(tail=CONFIGURATION)
    (bench.path / "trace.csv").write_text("when,tokens\n0,1\n5,1\n")
    bench.pytester.makepyfile(
        """
        async def test_it(inference_service, workload):
            await workload("production").measure(inference_service)
        """
    )
    session = bench.run(repeats=1)
    session.result.assert_outcomes(failed=1)
    assert "(count, rng, sizes) -> list" in session.everything
