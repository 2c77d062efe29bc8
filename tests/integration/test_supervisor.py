"""The supervisor by itself: a log that is flooded, and a service that is started again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

LIMIT, KEPT = 1 << 20, 64 << 10


@contextmanager
def supervised(log: Path, program: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``program`` (Python) under a supervisor whose log may have 1 MiB."""
    code = (
        "import sys\n"
        "from pytest_inferbench.deployment import supervisor\n"
        f"supervisor.LOG_LIMIT, supervisor.LOG_KEPT = {LIMIT}, {KEPT}\n"
        "sys.exit(supervisor.main(sys.argv[1:]))\n"
    )
    words = [sys.executable, "-c", code, str(log), "", "0", "--", sys.executable, "-c", program]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.02)


def test_a_flood_of_log_lines_does_not_fill_the_disk(tmp_path: Path) -> None:
    """32 times the limit is written: the file ends below it, with a note that something is missing, and the end."""
    log = tmp_path / "log"
    flood = (
        "import sys, time\n"
        "for number in range(512):\n"
        "    sys.stdout.write('x' * 65535 + chr(10)); sys.stdout.flush(); time.sleep(0.002)\n"
        "time.sleep(0.5)\n"
        "print('the last line', flush=True)\n"
        "time.sleep(600)\n"
    )
    with supervised(log, flood):
        until(lambda: log.exists() and b"the last line" in log.read_bytes()[-100:])
        until(lambda: log.stat().st_size <= LIMIT)
        text = log.read_text()
    assert text.startswith("inferbench: the log grew beyond 1 MiB; its beginning was dropped\n")
    assert text.rstrip().endswith("the last line")


def test_a_restart_is_another_process_and_the_leash_still_holds(tmp_path: Path) -> None:
    """The word "restart" ends the first process and names the second; letting go of the leash ends that too."""
    with supervised(tmp_path / "log", "import time; time.sleep(600)") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        first = int(process.stdout.readline())
        process.stdin.write("restart\n")
        second = int(process.stdout.readline())
        assert first != second
        assert not psutil.pid_exists(first)
        assert psutil.pid_exists(second)
        process.stdin.close()
        process.wait()
    assert not psutil.pid_exists(second)
