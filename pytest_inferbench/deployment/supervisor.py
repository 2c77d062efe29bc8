"""A small process between pytest and the service, so that nothing of the service outlives pytest.

Run as ``python -P supervisor.py LOG AFFINITY NICE -- COMMAND...`` with a pipe as standard input. The pipe is the leash:
when it closes, because pytest let go of it or died of whatever cause, the service's whole tree is ended: SIGTERM to the
command, and after a grace period SIGKILL to every descendant. The pid of the command is the first line of standard
output; the word "restart" ends the command likewise and starts it again, and the next line is its new pid.

On Linux the supervisor is a subreaper, so that a descendant which left the process group, or lost its parent, is
still found. Standalone on purpose: it imports nothing of this package, whose start-up time it would pay at each boot.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import select
import signal
import subprocess
import sys
import time

import psutil

GRACE_SECONDS = 10.0
LOG_LIMIT = 64 << 20
LOG_KEPT = 1 << 20
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _prepare_child(affinity: list[int], nice: int) -> None:
    """Between fork and exec: default signals again, die with the supervisor if that is killed; CPUs and priority."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if affinity and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, affinity)
    os.nice(nice)


def _kill_descendants() -> None:
    """SIGKILL every descendant until none is left; a process that forks meanwhile is met in the next round."""
    deadline = time.monotonic() + 5
    while (children := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=0.2)
        _reap()


def _wake_descendants() -> None:
    """SIGCONT for whoever is frozen (a disruption that was cut short): it could not end politely otherwise."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.resume()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _attend(service: subprocess.Popen[bytes], log: io.RawIOBase) -> bool:
    """Return when the command has ended, by itself or asked to by us: True if it shall be started again."""
    while service.poll() is None:
        _bound(log)
        if select.select([0], [], [], 0.1)[0]:
            said = os.read(0, 4096)
            with contextlib.suppress(ProcessLookupError):
                service.terminate()
            _wake_descendants()
            with contextlib.suppress(subprocess.TimeoutExpired):
                service.wait(GRACE_SECONDS)
            return bool(said)
    return False


def _bound(log: io.RawIOBase) -> None:
    """Keep a service that floods its log from filling the disk: beyond the limit only the end is kept."""
    size = os.fstat(log.fileno()).st_size
    if size > LOG_LIMIT:
        log.seek(size - LOG_KEPT)
        end = log.read(LOG_KEPT) or b""
        log.truncate(0)  # the service appends, so that it goes on from here
        log.write(b"inferbench: the log grew beyond %d MiB; its beginning was dropped\n" % (LOG_LIMIT >> 20) + end)


def main(argv: list[str]) -> int:
    """Run the command until it exits or the leash is let go; return its exit status (128 + signal if killed)."""
    log_path, affinity_text, nice_text, separator, *command = argv
    if separator != "--" or not command:
        raise SystemExit("usage: supervisor.py LOG AFFINITY NICE -- COMMAND...")
    affinity, nice = [int(cpu) for cpu in affinity_text.split(",") if cpu], int(nice_text)
    for number in _IGNORED:
        # Ending is the leash's business. A signal meant for pytest's group must not cut the clean-up short.
        signal.signal(number, signal.SIG_IGN)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with open(log_path, "a+b", buffering=0) as log:  # noqa: PTH123
        while True:
            try:
                service = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=lambda: _prepare_child(affinity, nice),
                )
            except OSError as error:
                log.write(f"inferbench: cannot run {command[0]}: {error}\n".encode())
                return 127
            print(service.pid, flush=True)
            again = _attend(service, log)
            _kill_descendants()
            status = service.wait()
            if not again:
                return status if status >= 0 else 128 - status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
