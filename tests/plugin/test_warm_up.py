"""Warm-up in whole sessions: every worker has had requests when the clock starts, and the configuration bounds it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.plugin.conftest import ONE_MEASUREMENT, Bench

FORKING = Path(__file__).with_name("forking_service.py")


def configure(bench: Bench, workers: int, warmup: str, **runtime: float) -> None:
    """Deploy ``workers`` that take connections from one socket, which the first to accept gets."""
    shutil.copy(FORKING, bench.path)
    command = json.dumps([sys.executable, "forking_service.py", "{port}", "{workers}"])
    bench.configure(
        profiles={"baseline": {"delay": 0.002, **runtime}},
        head=f"command = {command}\nwarmup = {warmup}",
        tail=f"[tool.inferbench.profiles.baseline.deployment]\nworkers = {workers}",
    )
    bench.pytester.makepyfile(ONE_MEASUREMENT)


@pytest.mark.usefixtures("_real_examination")
def test_every_worker_is_warm_when_the_clock_starts(bench: Bench) -> None:
    """Two workers share a socket: each has answered a request before the first one that is measured.

    How many, is up to the kernel, which gives a connection to whoever is first to ask for one.
    """
    # Long enough to be seen by who looks 50 times a second, also on a busy machine.
    configure(bench, 2, "{ requests = 40 }", delay=0.1)
    session = bench.run()
    (measurement,) = session.measurements
    requests = sum(run["requests"] for run in measurement["runs"])
    pids = {line["pid"] for line in bench.lines("workers.jsonl")}
    before = [line["pid"] for line in bench.lines("answers.jsonl")[:-requests]]
    assert len(pids) == 2
    assert min(before.count(pid) for pid in pids) >= 1
    assert not [finding for finding in measurement["findings"] if finding["rule"] == "workers-unseen"]


@pytest.mark.usefixtures("_real_examination")
def test_a_worker_that_takes_no_connection_is_named(bench: Bench) -> None:
    """One of two workers never accepts: the measurement says so, and is a result all the same."""
    configure(bench, 2, "{ requests = 8 }", idle=1)
    session = bench.run()
    (measurement,) = session.measurements
    (found,) = [finding for finding in measurement["findings"] if finding["rule"] == "workers-unseen"]
    assert (found["kind"], found["value"], found["limit"]) == ("service", 1, 2)
    assert "1 of 2 workers took a connection" in found["message"]
    session.result.assert_outcomes(passed=1)


@pytest.mark.usefixtures("_real_examination")
def test_a_workload_may_say_what_the_project_does_not(bench: Bench) -> None:
    """Off for one workload: it sends what is measured and nothing else; the other one is warmed up."""
    bench.configure(tail="")
    path = bench.path / "pyproject.toml"
    text = path.read_text(encoding="utf-8").replace("steady = { rate", 'steady = { warmup = "off", rate')
    path.write_text(text, encoding="utf-8")
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    (measurement,) = bench.run().measurements
    measured = sum(run["requests"] for run in measurement["runs"])
    assert len(bench.requests) == measured
    bench.pytester.makepyfile(ONE_MEASUREMENT.replace("steady", "bursty"))
    (measurement,) = bench.run().measurements
    assert len(bench.requests) > measured + sum(run["requests"] for run in measurement["runs"]) + 60


@pytest.mark.usefixtures("_real_examination")
def test_the_plan_counts_the_warm_up_as_it_was_seen(bench: Bench) -> None:
    """Before the first session it is guessed; afterwards the seconds it took are remembered, and none if it is off."""
    bench.configure(head=f"command = {json.dumps([sys.executable, 'loopback_service.py', '{port}'])}\nwarmup = '45s'")
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    collect = ("--collect-only", "--inferbench-duration=1s")
    guessed = bench.run(*collect, repeats=60)
    guessed.result.stdout.fnmatch_lines(["*60 runs each: 60 boots, about 21 min"])
    bench.run()
    cache = bench.path / ".pytest_cache" / "v" / "inferbench"
    assert json.loads((cache / "warmup_seconds").read_text())["baseline"] > 0
    for name, seconds in (("warmup_seconds", 50), ("overhead_seconds", 4)):
        (cache / name).write_text(json.dumps({"baseline": seconds}))
    known = bench.run(*collect, repeats=60)
    known.result.stdout.fnmatch_lines(["*60 runs each: 60 boots, about 50 min"])
    text = (bench.path / "pyproject.toml").read_text()
    (bench.path / "pyproject.toml").write_text(text.replace("'45s'", "'off'"))
    off = bench.run(*collect, repeats=60)
    off.result.stdout.fnmatch_lines(["*60 runs each: 60 boots, about 5 min"])
