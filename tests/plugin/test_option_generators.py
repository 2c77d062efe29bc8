"""--inferbench-generators: several processes issue the load, and one that dies voids the measurement."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import ONE_MEASUREMENT, Bench

KILLING = """
import os, signal
import psutil

async def test_steady(inference_service, workload, monkeypatch):
    from pytest_inferbench import LoadGenerator

    issue = LoadGenerator.issue
    asked = []

    async def killed(self, schedule, payloads):
        def kill(progress):
            for child in psutil.Process().children():
                try:
                    ours = any("loadgen.worker" in part for part in child.cmdline())
                except psutil.NoSuchProcess:
                    continue
                if ours and not asked:
                    asked.append(self.generators)
                    os.kill(child.pid, signal.SIGKILL)
        self._on_progress = kill
        return await issue(self, schedule, payloads)

    monkeypatch.setattr(LoadGenerator, "issue", killed)
    measurement = await workload("long", rate=50, duration=30).measure(inference_service)
    assert asked == [2]
    assert measurement.meets(__import__("pytest_inferbench").SLO(p50="9s"))
"""


def test_the_load_is_issued_by_so_many_processes(bench: Bench) -> None:
    """Two generators: every request of the schedule is answered, and the measurement is as valid as that of one."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    one = bench.run("--inferbench-duration=1s", repeats=1).measurements[0]["runs"][0]
    two = bench.run("--inferbench-duration=1s", "--inferbench-generators=2", repeats=1).measurements[0]["runs"][0]
    assert (two["digest"], two["requests"], two["failed"]) == (one["digest"], one["requests"], 0)


def test_a_generator_that_dies_makes_the_measurement_invalid(bench: Bench) -> None:
    """The verdict is INVALID and says what killed it; no figure of the half of the requests is judged."""
    bench.pytester.makepyfile(KILLING)
    session = bench.run("--inferbench-generators=2", repeats=1)
    assert session.verdicts == ["INVALID"]
    (measurement,) = session.measurements
    assert measurement["findings"][0]["rule"] == "load-generator"
    assert "SIGKILL" in measurement["findings"][0]["message"]
    session.result.assert_outcomes(failed=1)


@pytest.mark.parametrize("wrong", ["0", "two", "http://host:8786", "tcp://host"])
def test_what_is_neither_a_number_nor_a_scheduler_is_refused(bench: Bench, wrong: str) -> None:
    """One message that names the option and the value."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run(f"--inferbench-generators={wrong}", repeats=1)
    assert "--inferbench-generators" in session.everything
    assert wrong in session.everything
