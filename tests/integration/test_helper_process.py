"""The helper process by itself: whatever its verb, it undoes what it did when its control pipe closes."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pytest_inferbench.deployment import helper_process
from pytest_inferbench.deployment.helper_process import helper_command

LIMIT, KEPT = 2 << 20, 64 << 10


@contextmanager
def supervised(log: Path, program: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``program`` (Python) by a helper process whose log may have 2 MiB."""
    code = (
        "import sys\n"
        "from pytest_inferbench.deployment import helper_process\n"
        f"helper_process.LOG_LIMIT, helper_process.LOG_KEPT = {LIMIT}, {KEPT}\n"
        "sys.exit(helper_process.main(*sys.argv[1:]))\n"
    )
    words = [sys.executable, "-c", code, "run", str(log), "", "0", "--", sys.executable, "-c", program]
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


def test_a_restart_is_another_process_and_ends_with_the_control_pipe_too(tmp_path: Path) -> None:
    """The word "restart" ends the first process and names the second; closing the control pipe ends that too."""
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


@contextmanager
def helper(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Run one verb; its control pipe is closed, and its end awaited, when the context is left."""
    with subprocess.Popen(
        helper_command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.communicate()


FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(600)"],
                         stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print("family", os.getpid(), child.pid, flush=True)
time.sleep(600)
"""


def family(log: Path) -> list[int]:
    """Wait until the service has started a process in a session of its own; return the pids of both."""
    until(lambda: log.exists() and "family" in log.read_text())
    return [int(word) for word in log.read_text().split()[1:3]]


def gone(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def test_a_frozen_service_and_its_child_in_another_session_end_with_the_control_pipe(tmp_path: Path) -> None:
    """A service that a disruption froze is woken to end, and what left its session and lost its parent is killed."""
    log = tmp_path / "log"
    with helper("run", str(log), "", "0", "--", sys.executable, "-c", FAMILY) as process:
        pids = family(log)
        os.kill(pids[0], signal.SIGSTOP)
    assert process.returncode == 128 + signal.SIGTERM
    assert gone(pids)


def test_a_signal_does_not_end_the_helper_process_before_its_service(tmp_path: Path) -> None:
    """SIGINT, SIGTERM and SIGHUP, as a terminal sends them to all, leave it running: the control pipe decides."""
    log = tmp_path / "log"
    with helper("run", str(log), "", "0", "--", sys.executable, "-c", FAMILY) as process:
        pids = family(log)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
        process.stdin.write("restart\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        until(lambda: gone(pids))
        assert process.poll() is None
    assert gone(pids)


@pytest.mark.parametrize("kind", ["cpu", "memory"])
def test_pressure_ends_with_the_control_pipe(kind: str) -> None:
    """Ten minutes of pressure end at once, with status 0."""
    with helper("press", kind, "600", str(1 << 20)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    assert process.returncode == 0


LISTENER = """
import socket, time
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_frozen_worker_continues_when_the_control_pipe_closes() -> None:
    """Who listens on the port is stopped, and runs again as soon as the pipe is closed, not after ten minutes."""
    with subprocess.Popen([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout is not None
            port = worker.stdout.readline().strip()
            with helper("signal", "freeze", port, "1", "600") as process:
                assert process.stdout is not None
                assert process.stdout.readline() == f"pid {worker.pid}\n"
                until(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED)
            assert process.returncode == 0
            until(lambda: psutil.Process(worker.pid).status() != psutil.STATUS_STOPPED)
        finally:
            worker.kill()


def note(path: Path, text: str) -> list[str]:
    """Return a command that appends ``text`` to a file."""
    return [sys.executable, "-S", "-c", "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + ' ')", str(path), text]


def test_what_is_not_withdrawn_is_cleaned_up_the_latest_first(tmp_path: Path) -> None:
    """Withdrawn, unfinished and conditional orders are not run; a command that fails is counted, the others run."""
    done = tmp_path / "done"
    says_something, fails = [sys.executable, "-S", "-c", "print('in use')"], [sys.executable, "-S", "-c", "exit(1)"]
    orders = [
        {"key": "first", "command": note(done, "first")},
        {"key": "withdrawn", "command": note(done, "withdrawn")},
        {"key": "used", "command": note(done, "used"), "unless": says_something},
        {"key": "unknown", "command": note(done, "unknown"), "unless": fails},
        {"key": "free", "command": note(done, "free"), "unless": [sys.executable, "-S", "-c", ""]},
        {"key": "fails", "command": fails},
        {"key": "withdrawn"},
        {"key": "last", "command": note(done, "last")},
    ]
    with helper("clean-up") as process:
        text = "".join(json.dumps(order) + "\n" for order in orders) + '{"key": "cut", "comm'
        process.communicate(text)
    assert process.returncode == 1
    assert done.read_text().split() == ["last", "free", "first"]


def test_the_program_needs_the_standard_library_only() -> None:
    """It runs without site packages and in containers, where this package is not installed."""
    tree = ast.parse(Path(helper_process.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names | {"__future__"}
