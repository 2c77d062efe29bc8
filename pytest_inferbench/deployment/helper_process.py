"""The program of every process that must not outlive pytest: ``python -P -S helper_process.py VERB ARGUMENTS...``.

Standard input is the *control pipe*: pytest holds its other end, which closes when pytest closes it or ends, whatever
the cause. Then every verb undoes what it did, and ends:

- ``run LOG AFFINITY NICE -- COMMAND...`` runs a service, and ends it with all its descendants. Prints the service's
  pid; "restart" in the control pipe ends the service, starts it again and prints the new pid.
- ``press cpu|memory SECONDS BYTES`` takes CPU time or memory. Prints "ready" once it has what it takes.
- ``signal kill|freeze PORT NUMBER|all SECONDS`` signals the processes that listen on a port (Linux) and prints which.
  Those that it froze continue when the seconds are over.
- ``clean-up`` runs the commands that the control pipe names, one JSON object a line: ``{"key": K, "command": [...]}``
  asks for a command, ``{"key": K}`` withdraws it. The latest is run first; one with ``"unless": [...]`` only if that
  command succeeds and prints nothing. The exit status is the number of commands that failed.

Needs the standard library only, so that it starts at once and runs in containers too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

GRACE_SECONDS = 10.0
LOG_LIMIT = 64 << 20
LOG_KEPT = 1 << 20
_CONTROL = 0
_CLEAN_UP_SECONDS = 180
_PAGE = 4096
_PIPE_BYTES = 1 << 20
_QUIET_SECONDS = 0.02
_F_SETPIPE_SZ = 1031  # Linux; fcntl names it, but not on every system
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def helper_command(*words: str) -> list[str]:
    """Return the command line that runs this program on this machine; its standard input must be a pipe."""
    return [sys.executable, "-P", "-S", __file__, *words]


def read_control(seconds: float | None = None, *others: int) -> bytes | None:
    """Wait for the control pipe: return what pytest wrote, or b"" once the pipe is closed.

    None if it stayed silent for ``seconds`` (None: no limit), or until one of the descriptors ``others`` is readable.
    """
    ready, _, _ = select.select([_CONTROL, *others], [], [], seconds)
    return os.read(_CONTROL, 65_536) if _CONTROL in ready else None


def ignore_signals() -> None:
    """Let the control pipe alone decide when this process ends: a signal to pytest's group must not cut it short."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)


class Log:
    """What the service prints, read from a pipe and written to a file that stays below `LOG_LIMIT` bytes.

    The service writes to ``inlet``, and only this process to the file: so the file can be cut down to its end without
    losing a line. Whoever waits for the service must call `copy` meanwhile: a full pipe stops the service.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = open(path, "a+b", buffering=0)  # noqa: PTH123, SIM115
        self.outlet, self.inlet = os.pipe()
        os.set_blocking(self.outlet, False)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.outlet, _F_SETPIPE_SZ, _PIPE_BYTES)

    def copy(self) -> int:
        """Copy what is in the pipe, up to its capacity; return the number of bytes. Waits for nothing."""
        try:
            data = os.read(self.outlet, _PIPE_BYTES)
        except BlockingIOError:
            return 0
        self.write(data)
        return len(data)

    def write(self, data: bytes) -> None:
        """Append ``data``. A full disk costs lines of the log, never the service."""
        self._make_room(len(data))
        with contextlib.suppress(OSError):
            while data:
                data = data[self._file.write(data) or 0 :]

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


def run(log_path: str, affinity: str, nice: str, separator: str = "", *command: str) -> int:
    """Run a command until it exits or the control pipe closes; return its exit status, 128 + signal if killed.

    On Linux this process is a subreaper, so that a descendant which left the process group, or lost its parent, is
    still found.
    """
    if separator != "--" or not command:
        raise SystemExit("usage: helper_process.py run LOG AFFINITY NICE -- COMMAND...")
    cpus = [int(cpu) for cpu in affinity.split(",") if cpu]
    ignore_signals()
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
                preexec_fn=lambda: _prepare_child(cpus, int(nice)),
            )
        except OSError as error:
            log.write(f"inferbench: cannot run {command[0]}: {error}\n".encode())
            return 127
        print(service.pid, flush=True)
        again = _wait_or_end(service, log)
        _kill_descendants()
        while log.copy():
            pass
        status = service.wait()
        if not again:
            return status if status >= 0 else 128 - status


def _wait_or_end(service: subprocess.Popen[bytes], log: Log) -> bool:
    """Return when the command has ended, by itself or asked to by us: True if it shall be started again."""
    while service.poll() is None:
        message = read_control(0.1, log.outlet)
        copied = log.copy()
        if message is not None:
            with contextlib.suppress(ProcessLookupError):
                service.terminate()
            for pid in _descendants():
                _send(pid, signal.SIGCONT)  # one that a disruption froze could not end by itself otherwise
            deadline = time.monotonic() + GRACE_SECONDS
            while service.poll() is None and time.monotonic() < deadline:
                if not log.copy():
                    time.sleep(_QUIET_SECONDS)
            return bool(message)
        if 0 < copied < _PIPE_BYTES // 8:
            # Not woken for each line of an access log, which would take CPU time from the service.
            time.sleep(_QUIET_SECONDS)
    return False


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes  # which the Python of a container may lack, and only `run` needs

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _prepare_child(cpus: list[int], nice: int) -> None:
    """Between fork and exec: default signals again, die with this process if that is killed; CPUs and priority."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)
    os.nice(nice)


def _kill_descendants() -> None:
    """SIGKILL every descendant until none is left; a process that forks meanwhile is found in the next round."""
    deadline = time.monotonic() + 5
    while (pids := _descendants()) and time.monotonic() < deadline:
        for pid in pids:
            _send(pid, signal.SIGKILL)
        time.sleep(0.01)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _descendants() -> list[int]:
    """Return the pids of the children, their children and so on, those that ended and are not waited for included."""
    own, parents = os.getpid(), {}
    if sys.platform == "linux":
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and (fields := _stat(folder)):
                parents[int(folder.name)] = int(fields[1])
    else:
        with subprocess.Popen(["ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE, text=True) as listing:
            rows = (line.split() for line in listing.communicate()[0].splitlines())
            parents = {int(pid): int(parent) for pid, parent in rows if int(pid) != listing.pid}
    found, latest = [], {own}
    while latest := {pid for pid, parent in parents.items() if parent in latest and pid != own}:
        found += sorted(latest)
    return found


def press(kind: str, seconds: str, amount: str) -> int:
    """Take CPU time or memory until the time is over or the control pipe closes."""
    held = bytearray(int(amount))
    for position in range(0, len(held), _PAGE):
        held[position] = 1  # memory that was never written to is not there yet
    print("ready", flush=True)
    deadline = time.monotonic() + float(seconds)
    while (left := deadline - time.monotonic()) > 0:
        if read_control(0 if kind == "cpu" else left) is not None:
            break
        if kind == "cpu":
            sum(range(100_000))
    return 0


def signal_workers(action: str, port: str, number: str, seconds: str) -> int:
    """Signal the workers, oldest first, and let those continue that it froze. Exits with a message if there are few."""
    workers = find_listeners(int(port))
    chosen = workers if number == "all" else workers[: int(number)]
    if not chosen or (number != "all" and len(chosen) < int(number)):
        sys.exit(f"{number} workers should be disrupted, but only {len(workers)} were found")
    if 1 in chosen:
        sys.exit(
            "the worker is process 1 of its container, which cannot receive signals from within its namespace; "
            "set shareProcessNamespace: true for the pod, or use DeletePod"
        )
    for pid in chosen:
        os.kill(pid, signal.SIGKILL if action == "kill" else signal.SIGSTOP)
    print("pid " + ", ".join(map(str, chosen)), flush=True)
    if action == "freeze":
        read_control(float(seconds))
        for pid in chosen:
            _send(pid, signal.SIGCONT)
    return 0


def find_listeners(port: int, proc: Path = Path("/proc")) -> list[int]:
    """Return the pids that listen on ``port``, oldest first, without those that only hand the socket to a child."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        for words in map(str.split, _read(proc / "net" / table).splitlines()[1:]):
            if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{words[9]}]")
    started: dict[int, int] = {}
    parents = set()
    for folder in proc.iterdir():
        try:
            if folder.name.isdigit() and any(str(link.readlink()) in sockets for link in (folder / "fd").iterdir()):
                fields = _stat(folder)
                started[int(folder.name)] = int(fields[19])
                parents.add(int(fields[1]))
        except (OSError, IndexError):
            continue  # ended meanwhile, or somebody else's
    return sorted((pid for pid in started if pid not in parents), key=lambda pid: (started[pid], pid))


def _stat(folder: Path) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` behind the name: state, parent, ...; none if the process is gone."""
    return _read(folder / "stat").rpartition(")")[2].split()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def clean_up() -> int:
    """Collect commands until the control pipe closes, then run those that are left; return how many failed."""
    ignore_signals()
    received = b""
    while message := read_control():
        received += message
    wanted: dict[str, dict[str, list[str]]] = {}
    for line in received.splitlines():
        # A session that is killed while it writes leaves half a line, of something that it had not begun.
        with contextlib.suppress(ValueError, KeyError):
            order = json.loads(line)
            wanted.pop(order["key"], None)
            if "command" in order:
                wanted[order["key"]] = order
    failed = 0
    for order in reversed(list(wanted.values())):
        if "unless" not in order or _output(order["unless"]) == "":
            failed += _output(order["command"]) is None
    return failed


def _output(command: list[str]) -> str | None:
    """Return what a command prints, None if it fails or takes too long."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_CLEAN_UP_SECONDS, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None
    return None


def main(verb: str, *words: str) -> int:
    """Do what the command line says; return the exit status."""
    verbs: dict[str, Callable[..., int]] = {"run": run, "press": press, "signal": signal_workers, "clean-up": clean_up}
    return verbs[verb](*words)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
