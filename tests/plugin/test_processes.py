"""Nothing of the service outlives the session, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from tests.plugin.conftest import ASYNCIO_ADVICE, Bench, until

LONG = """
async def test_long(inference_service, steady):
    await steady.measure(inference_service)
"""


def alive(bench: Bench) -> list[str]:
    """Every process that works in the project's folder, and every one that a boot of the service noted."""
    noted = {pid for boot in bench.boots for pid in boot["pids"]}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            ours = process.pid in noted or process.cwd().startswith(str(bench.path))
            # pytester works there too: this very process is not what is looked for.
            if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
    return found


@contextmanager
def session(bench: Bench, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run pytest as a process of its own; whatever it left is killed when the test is over.

    It hears Ctrl-C even where this process does not: a shell's background job inherits SIGINT as ignored.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", ASYNCIO_ADVICE, *options],
        cwd=bench.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        for line in alive(bench):
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                psutil.Process(int(line.partition(" ")[0])).kill()
        process.communicate()


def test_a_normal_session_leaves_nothing_not_even_a_detached_grandchild(bench: Bench) -> None:
    """After the last boot is over, no process of any boot is left, nor one that left the service's session."""
    bench.configure(profiles={"baseline": {"grandchild": True}}, duration="0.2s")
    bench.pytester.makepyfile(LONG)
    bench.run(repeats=2).result.assert_outcomes(passed=1)
    assert [len(boot["pids"]) for boot in bench.boots] == [2, 2]
    assert alive(bench) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
def test_a_signal_in_a_turn_ends_both_systems(bench: Bench, number: signal.Signals) -> None:
    """Two services with their generators are up in turns; Ctrl-C and SIGKILL leave none of them behind."""
    bench.configure(profiles={"baseline": {"grandchild": True}, "other": {}}, duration="120s", rate=40)
    bench.pytester.makepyfile(LONG)
    with session(bench, "--profile=other", "--against=baseline", "--inferbench-turns=500ms") as process:
        until(lambda: len({request["headers"]["host"] for request in bench.requests[60:]}) == 2)
        assert len(alive(bench)) >= 7  # pytest, and of each system helper, service and generator
        process.send_signal(number)
        process.communicate(timeout=60)
        until(lambda: alive(bench) == [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_a_signal_in_a_run_ends_service_and_generator(bench: Bench, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and SIGKILL of pytest, sent while requests are under way, leave no process behind."""
    bench.configure(profiles={"baseline": {"grandchild": True}}, duration="120s", rate=20)
    bench.pytester.makepyfile(LONG)
    with session(bench) as process:
        until(lambda: len(bench.requests) > 30)  # warm-up is over: it sends 24
        assert len(alive(bench)) >= 5  # pytest, helper, service, its grandchild, load generator
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        until(lambda: alive(bench) == [])
    if number is signal.SIGINT:
        assert process.returncode == pytest.ExitCode.INTERRUPTED
        assert "KeyboardInterrupt" in output


def test_a_service_that_ignores_sigterm_does_not_survive_a_killed_session(bench: Bench) -> None:
    """SIGKILL of pytest: the helper process asks, waits for the grace period, then kills the service and its like."""
    bench.configure(profiles={"baseline": {"stubborn": True, "grandchild": True}})
    bench.pytester.makepyfile(
        """
        import os, signal

        def test_it(inference_service):
            with inference_service.running():
                os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    with session(bench) as process:
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert len(bench.boots) == 1
        until(lambda: alive(bench) == [])


def test_a_crash_in_a_test_ends_the_service(bench: Bench) -> None:
    """An exception while the service runs ends it at once: the next test finds nothing of it."""
    bench.configure(profiles={"baseline": {"grandchild": True}})
    bench.pytester.makepyfile(
        """
        import json, pathlib, psutil

        def test_crash(inference_service):
            with inference_service.running():
                raise RuntimeError("boom")

        def test_next():
            boot = json.loads(pathlib.Path("boots.jsonl").read_text())
            assert not any(psutil.pid_exists(pid) for pid in boot["pids"])
        """
    )
    bench.run().result.assert_outcomes(failed=1, passed=1)


def test_a_dead_interpreter_ends_the_service(bench: Bench) -> None:
    """An interpreter that aborts in the middle of a test cleans nothing up, and still nothing is left."""
    bench.pytester.makepyfile(
        """
        import os

        def test_abort(inference_service):
            with inference_service.running():
                os._exit(3)
        """
    )
    with session(bench) as process:
        process.communicate(timeout=60)
        assert process.returncode == 3
        until(lambda: alive(bench) == [])
