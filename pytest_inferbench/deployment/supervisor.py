"""A small process between pytest and the service, so that nothing of the service outlives pytest.

Run as ``python -P supervisor.py LOG AFFINITY NICE -- COMMAND...`` with a pipe as standard input. The pipe is the leash:
when it closes, because pytest let go of it or died of whatever cause, the service's whole tree is ended: SIGTERM to the
command, and after a grace period SIGKILL to every descendant. The pid of the command is the first line of standard
output; the word "restart" ends the command likewise and starts it again, and the next line is its new pid.

The service writes into a pipe, and only the supervisor writes LOG: so LOG can be cut down to its end while the service
goes on writing, and no line in between is lost.

On Linux the supervisor is a subreaper, so that a descendant which left the process group, or lost its parent, is
still found. Standalone on purpose: it imports nothing of this package, whose start-up time it would pay at each boot.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
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
_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031  # Linux; fcntl names it, but not on every system
_QUIET_SECONDS = 0.02
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


class Log:
    """What the service prints, read from a pipe and written to a file that stays below `LOG_LIMIT` bytes.

    ``inlet`` is the end of the pipe that the service writes to. Whoever waits for the service must call `wait` or
    `drain` meanwhile: a pipe that nobody reads becomes full and stops the service.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = open(path, "a+b", buffering=0)  # noqa: PTH123, SIM115
        self._outlet, self.inlet = os.pipe()
        os.set_blocking(self._outlet, False)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._outlet, _F_SETPIPE_SZ, _PIPE_BYTES)

    def wait(self, seconds: float, leash: list[int]) -> bool:
        """Copy for up to ``seconds``; return True as soon as one of the file descriptors in ``leash`` is readable."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([self._outlet, *leash], [], [], left)
            if self._outlet in ready and self._copy() < _PIPE_BYTES // 8:
                # Not woken for each line of an access log, which would take CPU time from the service.
                time.sleep(_QUIET_SECONDS)
            if set(leash) & set(ready):
                return True
        return False

    def drain(self) -> None:
        """Copy what is in the pipe, and wait for nothing."""
        while self._copy():
            pass

    def write(self, data: bytes) -> None:
        """Append ``data``. A full disk costs lines of the log, never the service."""
        self._make_room(len(data))
        with contextlib.suppress(OSError):
            while data:
                data = data[self._file.write(data) or 0 :]

    def _copy(self) -> int:
        try:
            data = os.read(self._outlet, _PIPE_BYTES)
        except BlockingIOError:
            return 0
        self.write(data)
        return len(data)

    def _make_room(self, count: int) -> None:
        """Where ``count`` bytes more would pass the limit, replace the file by its last whole lines.

        Whoever reads it meanwhile sees the old file or the new one.
        """
        size = os.fstat(self._file.fileno()).st_size
        if size + count <= LOG_LIMIT:
            return
        end = os.pread(self._file.fileno(), LOG_KEPT, size - LOG_KEPT)
        end = end[end.find(b"\n") + 1 :]
        fresh = f"{self._path}.new"
        try:
            with open(fresh, "wb") as file:  # noqa: PTH123
                file.write(b"inferbench: the log grew beyond %d MiB; its beginning was dropped\n" % (LOG_LIMIT >> 20))
                file.write(end)
            os.replace(fresh, self._path)  # noqa: PTH105
            self._file.close()
            self._file = open(self._path, "a+b", buffering=0)  # noqa: PTH123, SIM115
        except OSError:  # no room for both
            os.ftruncate(self._file.fileno(), 0)


def _attend(service: subprocess.Popen[bytes], log: Log) -> bool:
    """Return when the command has ended, by itself or asked to by us: True if it shall be started again."""
    while service.poll() is None:
        if log.wait(0.1, [0]):
            said = os.read(0, 4096)
            with contextlib.suppress(ProcessLookupError):
                service.terminate()
            _wake_descendants()
            deadline = time.monotonic() + GRACE_SECONDS
            while service.poll() is None and time.monotonic() < deadline:
                log.wait(0.02, [])
            return bool(said)
    return False


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
    log = Log(log_path)
    while True:
        try:
            service = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log.inlet,
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
        log.drain()
        status = service.wait()
        if not again:
            return status if status >= 0 else 128 - status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
