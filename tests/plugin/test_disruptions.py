"""Disruptions of a run: carried out at their instant on real processes, undone, recorded, and refused in time."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.plugin.conftest import Bench, Session

FORKING = Path(__file__).with_name("forking_service.py")

MEASURE = """
from pytest_inferbench import *

async def test_it(inference_service, steady):
    measurement = await steady.measure(inference_service, disruptions=[{disruptions}])
    print("STATUS", [int(status) for run in measurement.runs for status in run.status])
    print("LATENCY", [float(value) for run in measurement.runs for value in run.latencies])
"""


@pytest.fixture
def several(bench: Bench) -> Bench:
    """The project with two workers under a manager; 60 requests per second for 5.5 seconds."""
    shutil.copy(FORKING, bench.path)
    configure(bench)
    return bench


def configure(bench: Bench, workers: int = 2, *, duration: str = "5.5s", **runtime: Any) -> None:
    command = json.dumps([sys.executable, "forking_service.py", "{port}", "{workers}"])
    bench.configure(
        profiles={"baseline": {"delay": 0.002, **runtime}},
        head=f"command = {command}",
        tail=f"[tool.inferbench.profiles.baseline.deployment]\nworkers = {workers}",
        rate=60,
        duration=duration,
    )


def disrupt(bench: Bench, disruptions: str, *options: str) -> tuple[Session, list[dict[str, Any]]]:
    """Measure once under ``disruptions`` and return the session and what was recorded of them."""
    bench.pytester.makepyfile(MEASURE.format(disruptions=disruptions))
    session = bench.run("-s", *options)
    session.result.assert_outcomes(passed=1)
    (measurement,) = session.measurements
    return session, measurement["disruptions"]


def workers(bench: Bench) -> list[int]:
    return [line["pid"] for line in bench.lines("workers.jsonl")]


def test_a_killed_worker_is_replaced_and_the_other_goes_on(several: Bench) -> None:
    """SIGKILL reaches one worker and not the manager, which starts a third; the instant is on record."""
    session, (event,) = disrupt(several, "KillWorker(at=1)")
    assert (event["kind"], event["planned"], event["parameters"]) == ("KillWorker", 1.0, {"workers": 1})
    assert event["began"] >= 1.0
    first, _, _ = workers(several)
    assert event["detail"] == f"SIGKILL to pid {first}"
    assert "200" in session.output


def test_all_workers_killed_and_nobody_replaces_them(several: Bench) -> None:
    """What comes after that fails, to the last request, which is a result and not an error of the measurement."""
    configure(several, respawn=False)
    session, (event,) = disrupt(several, 'KillWorker(at=1, workers="all")')
    assert len(workers(several)) == 2
    statuses = json.loads(session.output.partition("STATUS ")[2].splitlines()[0])
    assert (statuses[0], statuses[-1]) == (200, 0)
    assert session.measurements[0]["failed"] == statuses.count(0) > 1
    assert event["began"] is not None
    assert not [finding for finding in session.measurements[0]["findings"] if finding["kind"] == "invalid"]


def test_a_frozen_service_answers_late_and_loses_nothing(bench: Bench) -> None:
    """SIGSTOP makes requests wait for SIGCONT: no failure, and a latency of about the freeze for the first of them."""
    bench.configure(rate=60, duration="4s")
    session, (event,) = disrupt(bench, "Freeze(at=0.5, duration=1)")
    assert session.measurements[0]["failed"] == 0
    assert event["ended"] - event["began"] >= 1.0
    latencies = json.loads(session.output.partition("LATENCY ")[2].splitlines()[0])
    assert max(latencies) > 0.8


def test_a_single_process_is_restarted_as_a_whole(bench: Bench) -> None:
    """A graceful restart without a manager: the service ends, boots again on its port, and answers again."""
    bench.configure(rate=60, duration="10s")
    session, (event,) = disrupt(bench, "Restart(at=0.5)")
    first, second = bench.boots
    assert first["port"] == second["port"]
    assert first["pids"] != second["pids"]
    assert event["detail"] == "the whole service was ended by SIGTERM and started again"
    statuses = json.loads(session.output.partition("STATUS ")[2].splitlines()[0])
    assert statuses[-1] == 200
    assert not any(psutil.pid_exists(boot["pids"][0]) for boot in bench.boots)


def test_several_workers_are_restarted_one_after_the_other(several: Bench) -> None:
    """Each worker gets SIGTERM in turn once the one before is replaced: four were started, the manager is the same."""
    configure(several, duration="10s")
    _, (event,) = disrupt(several, "Restart(at=0.3, pause=0.3)")
    assert event["detail"].endswith("of 2 workers, one after the other, each replaced")
    assert len(workers(several)) == 4


def test_pressure_on_cpu_and_memory_comes_and_goes(bench: Bench) -> None:
    """The processes that press run for their time and are gone before the session is over."""
    bench.configure(rate=60, duration="8s")
    _, events = disrupt(
        bench, 'CpuPressure(at=0.2, duration=0.5, processes=2), MemoryPressure(at=0.4, duration=0.5, amount="32MiB")'
    )
    cpu, memory = events
    assert cpu["detail"].startswith("2 x cpu by pid ")
    assert memory["detail"].startswith("1 x memory by pid ")
    assert memory["parameters"] == {"duration": 0.5, "amount": 32 * 2**20}
    for event in events:
        assert event["ended"] >= event["began"] + 0.4
    pids = [int(word.strip(",")) for event in events for word in event["detail"].partition("pid ")[2].split()]
    assert len(pids) == 3
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_slow_network_delays_each_way_while_it_lasts(bench: Bench) -> None:
    """Requests in the slow time take two delays longer, those before do not; nothing fails for the proxy."""
    bench.configure(rate=60, duration="4s")
    session, (event,) = disrupt(bench, "SlowNetwork(at=1, duration=0.6, delay=0.2)")
    assert session.measurements[0]["failed"] == 0
    latencies = json.loads(session.output.partition("LATENCY ")[2].splitlines()[0])
    assert max(latencies) >= 0.4
    assert min(latencies) < 0.4
    assert event["detail"].startswith("0.2 s each way, through a proxy on port ")


def test_what_a_deployment_cannot_do_is_said_before_it_is_booted(several: Bench) -> None:
    """Three workers of two, or more memory than there is: one clear error, no boot."""
    for disruption, message in {
        "KillWorker(at=1, workers=3)": "the service has only 2; raise deployment.workers",
        'MemoryPressure(at=1, amount="900000GB")': "more than half of the",
        "KillWorker(at=6)": "would come after the run, which lasts 5.5 s",
    }.items():
        several.pytester.makepyfile(MEASURE.format(disruptions=disruption))
        session = several.run()
        session.result.assert_outcomes(failed=1)
        assert message in session.output
    assert workers(several) == []


def test_an_endpoint_given_by_url_is_not_ours_to_disturb(bench: Bench) -> None:
    """Its processes belong to somebody else: the error says so and names what is possible."""
    bench.pytester.makepyfile(MEASURE.format(disruptions="Freeze(at=0.1)"))
    session = bench.run("--inferbench-url=http://127.0.0.1:9")
    session.result.assert_outcomes(failed=1)
    assert (
        "it cannot disturb its processes or its machine; start it under a profile, or use SlowNetwork" in session.output
    )


def test_a_disrupted_measurement_is_neither_recorded_nor_compared_with_a_baseline(bench: Bench) -> None:
    """--update-baselines stores nothing of it, and has_not_regressed says that there is nothing to compare with."""
    bench.configure(rate=20, duration="4s")
    bench.pytester.makepyfile(
        MEASURE.format(disruptions="Freeze(at=0.1, duration=0.1)")
        + "    verdict = measurement.has_not_regressed()\n    print('SAID', verdict.reasons[0])\n"
    )
    session = bench.run("-s", "--update-baselines")
    session.result.assert_outcomes(passed=1)
    assert bench.baselines == []
    assert "SAID runs that are disrupted on purpose are no baseline" in session.output


BOTH = """
from pytest_inferbench import *

async def test_both(inference_service, steady):
    measurement = await steady.measure(inference_service, disruptions=[KillWorker(at=0.4)])
    measurement.has_not_regressed(metrics=("error_rate",))
    measurement.survives(Resilience(max_failed="5%", recovers_within="10s"), slo=SLO(p95="10s"))
"""


def test_both_sides_of_a_session_are_disrupted_alike_and_compared(several: Bench) -> None:
    """--against with a kill: every run of both sides loses its worker at the same planned instant of the same arrivals.
    A candidate that replaces none has more errors than the reference, and misses its budget; nothing is recorded."""
    several.configure(
        profiles={"baseline": {"delay": 0.002}, "other": {"delay": 0.002, "respawn": False}},
        head=f"command = {json.dumps([sys.executable, 'forking_service.py', '{port}', '{workers}'])}",
        rate=60,
        duration="3s",
    )
    several.pytester.makepyfile(BOTH)
    session = several.run("--profile=other", "--against=baseline", "--update-baselines", repeats=3)
    session.result.assert_outcomes(passed=1)
    (measurement,) = session.measurements
    reference = measurement["reference"]
    assert [run["digest"] for run in reference["runs"]] == [run["digest"] for run in measurement["runs"]]
    for side in (measurement, reference):
        assert [(event["run"], event["planned"]) for event in side["disruptions"]] == [(0, 0.4), (1, 0.4), (2, 0.4)]
        assert all(event["began"] >= 0.4 for event in side["disruptions"])
        assert [impact["slo"] for impact in side["impacts"]] == [{"p95": 10.0}] * 3
    assert session.verdicts == ["REGRESSED", "MISSED"]
    assert several.baselines == []


def test_a_disruption_that_could_not_be_carried_out_voids_the_run(several: Bench) -> None:
    """All workers are gone when the second kill is due: the run was not disturbed as planned, and says so."""
    configure(several, respawn=False, workers=1)
    session, (first, second) = disrupt(several, "KillWorker(at=0.5), KillWorker(at=1)")
    assert first["began"] is not None
    assert second["began"] is None
    rules = [finding["rule"] for finding in session.measurements[0]["findings"] if finding["kind"] == "invalid"]
    assert rules == ["disruption"]
