"""The supervisor by itself: a log that is flooded, and a service that is started again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

LIMIT, KEPT = 2 << 20, 64 << 10


@contextmanager
def supervised(log: Path, program: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``program`` (Python) under a supervisor whose log may have 2 MiB."""
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
    """Sixteen times the limit is written: the file stays below it, says that its beginning is missing, and lost no line
    between that and the last one."""
    log = tmp_path / "log"
    flood = (
        "import sys, time\n"
        "for number in range(8192):\n"
        "    sys.stdout.write(f'{number:4095}' + chr(10)); sys.stdout.flush()\n"
        "print('the last line', flush=True)\n"
        "time.sleep(600)\n"
    )
    with supervised(log, flood):
        until(lambda: log.exists() and b"the last line" in log.read_bytes()[-100:])
        note, *lines, last = log.read_text().splitlines()
        assert log.stat().st_size <= LIMIT
    assert note == "inferbench: the log grew beyond 2 MiB; its beginning was dropped"
    assert [int(line) for line in lines] == list(range(8192 - len(lines), 8192))
    assert len(lines) * 4096 >= KEPT - 4096
    assert last == "the last line"
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_whoever_reads_the_log_while_it_is_cut_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """While 16 MiB pass through it, a reader finds the log neither missing nor empty nor larger than allowed."""
    log = tmp_path / "log"
    flood = (
        "import time\n"
        "for number in range(4096): print('x' * 4095, flush=True)\n"
        "print('done', flush=True)\n"
        "time.sleep(600)\n"
    )
    sizes: list[int] = []
    with supervised(log, flood):
        until(lambda: log.exists() and log.stat().st_size > 0)

        def done() -> bool:
            text = log.read_bytes()
            sizes.append(len(text))
            return text.endswith(b"done\n")

        until(done)
    assert min(sizes) > 0
    assert max(sizes) <= LIMIT


def test_a_service_that_says_much_when_it_is_asked_to_end_still_ends_by_itself(tmp_path: Path) -> None:
    """A handler of SIGTERM that prints 4 MiB, four times what the pipe holds, comes to its last line."""
    log = tmp_path / "log"
    program = (
        "import signal, sys, time\n"
        "def end(*args):\n"
        "    for number in range(4096): sys.stdout.write('y' * 1023 + chr(10))\n"
        "    print('goodbye', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    with supervised(log, program) as process:
        until(lambda: log.exists() and b"ready" in log.read_bytes())
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    assert log.read_text().endswith("goodbye\n")


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
