"""One session at a time loads a machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.plugin.conftest import ASYNCIO_ADVICE, ONE_MEASUREMENT, Bench

HOLDER = """
from pytest_inferbench.machine.lock import MachineLock
lock = MachineLock()
assert lock.try_acquire()
print("held", flush=True)
input()
lock.release()
print("released", flush=True)
input()
"""


@contextmanager
def _deadline(process: subprocess.Popen[str]) -> Iterator[None]:
    """End the process if the block takes a minute."""
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def test_a_second_session_says_that_it_waits_and_goes_on_when_the_first_is_done(bench: Bench) -> None:
    """While another process holds the machine nothing is booted and the wait is told with its holder, at once."""
    bench.configure(duration="0.2s")
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen([sys.executable, "-c", HOLDER], cwd=bench.path, **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline() == "held\n"
        command = [sys.executable, "-m", "pytest", ASYNCIO_ADVICE, "--inferbench-repeats=1"]
        with subprocess.Popen(command, cwd=bench.path, stdout=subprocess.PIPE, text=True, bufsize=1) as session:
            assert session.stdout is not None
            # A session that keeps the line to itself until the wait is over would block this for ever.
            with _deadline(session):
                told = next((line for line in session.stdout if "waiting" in line), "it was not told")
            assert "another session loads this machine" in told
            assert f"pid {holder.pid} in {os.path.realpath(bench.path)}" in told
            assert bench.boots == []
            holder.stdin.write("\n")
            assert holder.stdout.readline() == "released\n"
            rest = session.stdout.read()
        holder.stdin.write("\n")
    assert "1 passed" in rest
    assert len(bench.boots) == 1
