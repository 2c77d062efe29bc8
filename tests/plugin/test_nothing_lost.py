"""Faults of the machine and of the service: each has a defined end and message, and what was measured is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.plugin.conftest import ASYNCIO_ADVICE, ONE_MEASUREMENT, Bench
from tests.plugin.test_processes import LONG, alive, session, until

SECRET = "hunter2-s3cr3t"


@pytest.mark.usefixtures("_real_examination")
@pytest.mark.parametrize("answers", [0, 10])
def test_a_service_that_dies_in_the_warm_up(bench: Bench, answers: int) -> None:
    """Whether at the first request or in the middle: an error that says when it died, with its log; no measurement."""
    bench.configure(profiles={"baseline": {"dies_after": answers}})
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run()
    session.result.assert_outcomes(failed=1)
    assert session.measurements == []
    session.result.stdout.fnmatch_lines(
        ["E*DeploymentError: the service's process ended while it was warmed up*", "E*| listening on *"]
    )


def test_a_crash_in_a_fixture_ends_the_service(bench: Bench) -> None:
    """An exception in a fixture that holds a running service is an error of the test, and nothing is left."""
    bench.configure(profiles={"baseline": {"grandchild": True}})
    bench.pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def url(inference_service):
            with inference_service.running() as url:
                raise RuntimeError("boom")
                yield url

        def test_it(url):
            pass
        """
    )
    bench.run().result.assert_outcomes(errors=1)
    assert len(bench.boots) == 1
    assert alive(bench) == []


@pytest.mark.parametrize("option", ["json", "html", "markdown"])
def test_a_full_disk_costs_a_written_result_and_says_so(bench: Bench, option: str) -> None:
    """ENOSPC at writing a result: the session fails with the path and the reason, and still shows its figures."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    full = f"--inferbench-{option}=/dev/full"
    result = bench.pytester.runpytest_inprocess(ASYNCIO_ADVICE, full, "--inferbench-repeats=1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"--inferbench-{option}: cannot write /dev/full: No space left on device", "steady *"])


DISK_FULL = """
import resource
import pytest
from pytest_inferbench.storage.baselines import BaselineStore

@pytest.fixture(autouse=True, scope="session")
def full_disk():
    # Not a pretence: beyond 300 bytes the kernel refuses to write.
    update = BaselineStore.update
    def limited(*arguments, **named):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
        try:
            return update(*arguments, **named)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    BaselineStore.update = limited
    yield
    BaselineStore.update = update
"""


def test_a_disk_that_fills_up_leaves_the_old_baseline(bench: Bench) -> None:
    """Recording fails with the path, the reason and the way out; old file and new figures are both whole."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    assert bench.run("--update-baselines").result.ret == 0
    (stored,) = (bench.path / "baselines").glob("*/*/*.json")
    before = stored.read_bytes()
    bench.pytester.makeconftest(DISK_FULL)
    session = bench.run("--update-baselines")
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(["E*BaselineError: cannot write the baseline *: File too large; *"])
    assert "--inferbench-storage" in session.output
    assert stored.read_bytes() == before
    assert [path.name for path in stored.parent.iterdir()] == [stored.name]
    assert len(session.measurements) == 1


def test_a_folder_that_takes_no_files(bench: Bench) -> None:
    """Where the storage cannot be made the test fails after the measurement, whose figures are in the result."""
    (bench.path / "baselines").write_text("a file where the folder should be", encoding="utf-8")
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run("--update-baselines")
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(["E*BaselineError: cannot write the baseline *"])
    assert len(session.measurements) == 1


def test_a_wall_clock_that_jumps_changes_nothing(bench: Bench) -> None:
    """The time of day goes back an hour whenever it is asked for: latencies are as they are."""
    bench.pytester.makeconftest(
        """
        import itertools, time
        jumps = itertools.count(1)
        really = time.time
        time.time = lambda: really() - 3600 * next(jumps)

        def pytest_unconfigure():
            time.time = really
        """
    )
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run()
    session.result.assert_outcomes(passed=1)
    (measurement,) = session.measurements
    assert measurement["failed"] == 0
    assert 0 < measurement["figures"]["p50"]["estimate"] < 60


def test_xdist_workers_record_each_their_own_baselines(bench: Bench) -> None:
    """Two workers measure and record one after the other: both baselines are stored, and no process is left."""
    bench.configure(duration="0.3s", profiles={"baseline": {"grandchild": True, "delay": 0.1}})
    bench.pytester.makepyfile(test_one=ONE_MEASUREMENT, test_two=ONE_MEASUREMENT)
    session = bench.run("-n2", "--update-baselines", subprocess=True)
    session.result.assert_outcomes(passed=2)
    assert [Path(name).name for name in bench.baselines] == [
        "test_one.py--test_steady.json",
        "test_two.py--test_steady.json",
    ]
    assert len(session.measurements) == 2
    assert alive(bench) == []


def test_a_killed_xdist_worker_leaves_nothing(bench: Bench) -> None:
    """An interpreter of -n 2 that is killed in a run takes its service along; the others report."""
    bench.configure(profiles={"baseline": {"grandchild": True}}, duration="0.3s")
    bench.pytester.makepyfile(
        """
        import os, signal

        def test_killed(inference_service):
            with inference_service.running():
                os.kill(os.getpid(), signal.SIGKILL)

        def test_other():
            pass
        """
    )
    result = bench.pytester.runpytest_subprocess("-n2", "-pno:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    until(lambda: alive(bench) == [])


def test_a_kill_in_a_disruption_leaves_nothing_frozen_and_nothing_that_presses(bench: Bench) -> None:
    """SIGKILL of pytest while the service is stopped and a process presses on the CPU: all of them are gone."""
    bench.configure(duration="120s", rate=20)
    disrupted = "disruptions=[Freeze(at=1, duration=100), CpuPressure(at=1, duration=100)]"
    bench.pytester.makepyfile(
        "from pytest_inferbench import CpuPressure, Freeze\n"
        + LONG.replace("measure(inference_service)", f"measure(inference_service, {disrupted})")
    )
    with session(bench) as process:
        until(lambda: any("helper_process.py press" in line for line in alive(bench)))
        process.kill()
        process.communicate(timeout=60)
        until(lambda: alive(bench) == [])


CONFTEST = """
import os
import pytest
from pytest_inferbench import Target

@pytest.fixture(scope="session")
def inference_target():
    return Target("/predict", headers={"Authorization": f"Bearer {os.environ['API_TOKEN']}"})
"""


def leaks(bench: Bench, everything: str) -> list[str]:
    """Every place where the secret can be read: what was printed, and every file but what the service itself noted."""
    found = ["the output"] if SECRET in everything else []
    for path in [*bench.path.rglob("*"), *Path(os.environ["TMPDIR"]).rglob("*")]:
        if path.is_file() and path.name != "requests.jsonl" and SECRET.encode() in path.read_bytes():
            found.append(str(path.relative_to(bench.path) if path.is_relative_to(bench.path) else path))
    return found


REPORTS = ("--inferbench-html=report.html", "--inferbench-markdown=report.md", "--junitxml=junit.xml")


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.usefixtures("_real_examination")
def test_secrets_of_the_environment_and_of_headers_are_nowhere(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A token in a header reaches the service and no output, log, report or baseline, in good days and in bad ones."""
    monkeypatch.setenv("API_TOKEN", SECRET)
    bench.configure(profiles={"baseline": {"status": status}})
    bench.pytester.makeconftest(CONFTEST)
    bench.pytester.makepyfile(
        ONE_MEASUREMENT + "    from pytest_inferbench import SLO\n    assert measurement.meets(SLO(p50='1ns'))\n"
    )
    session = bench.run("--update-baselines", "-v", *REPORTS)
    session.result.assert_outcomes(failed=1)
    assert {request["headers"]["authorization"] for request in bench.requests} == {f"Bearer {SECRET}"}
    assert all((bench.path / option.partition("=")[2]).stat().st_size for option in REPORTS)
    assert leaks(bench, session.everything) == []


def test_credentials_of_a_url_are_nowhere(bench: Bench) -> None:
    """User and password of --inferbench-url are not shown, neither where it answers nor where nobody does."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run(f"--inferbench-url=http://user:{SECRET}@127.0.0.1:9/predict", *REPORTS)
    session.result.assert_outcomes(failed=1)
    assert "nothing usable answers at 127.0.0.1:9/predict" in session.output
    assert leaks(bench, session.everything) == []
