"""The service as processes on this machine, run by a helper process that ends it with everything it started."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from pytest_inferbench.config.profile import Profile
from pytest_inferbench.deployment.helper_process import GRACE_SECONDS, helper_command
from pytest_inferbench.errors import DeploymentError

__all__ = ["Launch", "LocalService"]

HOST = "127.0.0.1"
#: Below those that Linux (32768 and more) and macOS (49152 and more) give to outgoing connections.
_PORTS = range(20_000, 32_768)
_TAIL_BYTES = 4000
_TAIL_LINES = 25
_PROGRESS_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start a service.

    ``service``: what ``bentoml serve`` takes, or None if ``command`` is given. ``command``: any other program, in
    which ``{port}``, ``{host}`` and ``{workers}`` are replaced. ``ready``: the path that answers 200 once the
    service can take requests. ``cwd``: where it is started. ``boot_timeout``: seconds. ``revision``: where
    ``cwd`` holds another revision of the project, what to call it.
    """

    service: str | None
    command: tuple[str, ...] | None = None
    ready: str = "/readyz"
    cwd: Path
    boot_timeout: float = 120.0
    revision: str | None = None

    def arguments(self, *, port: int, profile: Profile) -> list[str]:
        """Return the command line for one boot."""
        if self.command is not None:
            words = {"port": str(port), "host": HOST, "workers": str(profile.deployment.workers)}
            return [_substitute(word, words) for word in self.command]
        if self.service is None:
            raise DeploymentError(
                "no service to boot: set `service` (what `bentoml serve` takes) or `command` in [tool.inferbench], "
                "or pass --inferbench-url to test a running endpoint"
            )
        if importlib.util.find_spec("bentoml") is None:
            raise DeploymentError(
                f"cannot boot {self.service!r}: BentoML is not installed in this environment ({sys.prefix}); "
                "run: pip install 'pytest-inferbench[service]'"
            )
        # BentoML would bind 0.0.0.0: a service under test is nobody else's business.
        return [sys.executable, "-m", "bentoml", "serve", self.service, "--host", HOST, "--port", str(port)]


class LocalService:
    """One boot of the service under one profile. Not reusable: a new run gets a new one."""

    def __init__(self, profile: Profile, launch: Launch, *, log: Path) -> None:
        self.profile = profile
        self.launch = launch
        self.log = log
        self.port = 0
        self.pid = 0
        self.boot_seconds = 0.0
        self._helper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return f"http://{HOST}:{self.port}"

    def boot(self, progress: Callable[[float, str], None] | None = None) -> None:
        """Start the service and wait until it is ready. Raises DeploymentError with the end of its log."""
        started = time.monotonic()
        self._start()
        self._await_ready(progress)
        self.boot_seconds = time.monotonic() - started

    def restart(self) -> None:
        """End it gracefully, start it again on the same port and wait until it is ready. Raises DeploymentError."""
        helper = self._helper
        if helper is None or helper.stdin is None or helper.stdout is None:
            raise self._error("is not running, so it cannot be restarted")
        try:
            helper.stdin.write(b"restart\n")
            helper.stdin.flush()
            self.pid = int(helper.stdout.readline() or 0)
        except (OSError, ValueError):  # stopped meanwhile
            raise self._error("ended before it could be restarted") from None
        self._await_ready(None)

    def _await_ready(self, progress: Callable[[float, str], None] | None) -> None:
        started = reported = time.monotonic()
        deadline = started + self.launch.boot_timeout
        # Proxies are for the world outside: trust_env would send loopback traffic through them.
        with httpx.Client(base_url=self.url, timeout=2.0, trust_env=False) as client:
            while not self._answers(client):
                if not self.alive:
                    raise self._error(f"exited with status {self._status} while booting{self._port_hint()}")
                if time.monotonic() > deadline:
                    raise self._error(
                        f"was not ready after {self.launch.boot_timeout:g} s (GET {self.launch.ready} never answered "
                        "200); raise --inferbench-boot-timeout if it only needs more time"
                    )
                time.sleep(0.05)
                if progress is not None and time.monotonic() - reported >= _PROGRESS_SECONDS:
                    reported = time.monotonic()
                    progress(reported - started, self.log_tail().rpartition("\n")[2])

    @property
    def worker_count(self) -> int:
        """How many workers the profile deploys."""
        return self.profile.deployment.workers

    @property
    def alive(self) -> bool:
        """True while the service's main process runs."""
        return self._helper is not None and self._helper.poll() is None

    def stop(self) -> None:
        """End the service and all its descendants: politely first, by force after a grace period."""
        process = self._helper
        if process is None:
            return
        self._helper = None
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(GRACE_SECONDS + 10)
        except subprocess.TimeoutExpired:
            # It hangs: its death takes the main process along (parent-death signal).
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def log_tail(self) -> str:
        """Return the last lines that the service wrote."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(0, stream.tell() - _TAIL_BYTES))
                text = stream.read().decode("utf-8", "replace")
        except OSError as error:
            return f"(log not readable: {error})"
        return "\n".join(text.splitlines()[-_TAIL_LINES:]) or "(the service wrote nothing)"

    def _start(self) -> None:
        self.port = self.profile.deployment.port or free_port()
        if self.profile.deployment.port:
            _require_free(self.port, self.profile.name)
        command = self.launch.arguments(port=self.port, profile=self.profile)
        cpus = self.profile.deployment.affinity or ()
        _require_cpus(cpus, self.profile.name)
        affinity, nice = ",".join(map(str, cpus)), self.profile.deployment.nice
        _require_priority(nice, self.profile.name)
        environment = {
            **os.environ,
            **self.profile.deployment.environment,
            "INFERBENCH_PROFILE": self.profile.to_json(),
            "BENTOML_DO_NOT_TRACK": "True",
            "PYTHONUNBUFFERED": "1",
        }
        if self.launch.revision is not None:
            # Before anything that is installed: an editable install would lead back to the checkout under test.
            here = [str(folder) for folder in (self.launch.cwd, self.launch.cwd / "src") if folder.is_dir()]
            environment["PYTHONPATH"] = os.pathsep.join([*here, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._helper = subprocess.Popen(
            helper_command("run", str(self.log), affinity, str(nice), "--", *command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self.launch.cwd,
            env=environment,
            start_new_session=True,
        )
        assert self._helper.stdout is not None
        line = self._helper.stdout.readline()
        self.pid = int(line) if line else 0

    def _answers(self, client: httpx.Client) -> bool:
        try:
            return client.get(self.launch.ready).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    @property
    def _status(self) -> str:
        code = self._helper.poll() if self._helper else None
        if code is None or code < 128:
            return str(code)
        try:
            return f"{code} ({signal.Signals(code - 128).name})"
        except ValueError:
            return str(code)

    def _port_hint(self) -> str:
        if "address already in use" in self.log_tail().lower():
            return f": another process took port {self.port} in the meantime; run again, or set deployment.port"
        return ""

    def _error(self, what: str) -> DeploymentError:
        command = " ".join(self.launch.arguments(port=self.port, profile=self.profile))
        where = "" if self.launch.revision is None else f" at revision {self.launch.revision}"
        return DeploymentError(
            f"the service{where} {what} (profile {self.profile.name!r})\n  command: {command}\n"
            f"  directory: {self.launch.cwd}\n  end of its log:\n{_indent(self.log_tail().splitlines())}"
        )


def free_port() -> int:
    """Return a TCP port on the loopback interface that nobody listens on at the moment.

    One that the system gives to no outgoing connection, if there is any: the service binds it only seconds later.
    """
    for port in secrets.SystemRandom().sample(_PORTS, 50):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _require_free(port: int, profile: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise DeploymentError(
                f"port {port} (deployment.port of profile {profile!r}) cannot be used: {error.strerror}"
                f"{_listener(port)}; end that process, or remove deployment.port to get a free one"
            ) from None


def _require_cpus(cpus: Sequence[int], profile: str) -> None:
    # The kernel itself only minds if none of them exists.
    if hasattr(os, "sched_getaffinity") and (missing := set(cpus) - (usable := os.sched_getaffinity(0))):
        raise DeploymentError(
            f"deployment.affinity of profile {profile!r} names CPU {', '.join(map(str, sorted(missing)))}, but this "
            f"process may only use {', '.join(map(str, sorted(usable)))}; correct it there"
        )


def _require_priority(nice: int, profile: str) -> None:
    if nice < 0 and os.geteuid() != 0:
        raise DeploymentError(
            f"deployment.nice of profile {profile!r} is {nice}: only root may raise the priority of "
            "processes; use 0 or more"
        )


def _listener(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f", taken by pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        return ""
    return ""


def _substitute(word: str, words: dict[str, str]) -> str:
    # Not str.format: a command may hold other braces (JSON, say).
    for name, value in words.items():
        word = word.replace("{" + name + "}", value)
    return word


def _indent(lines: Sequence[str]) -> str:
    return "\n".join(f"  | {line}" for line in lines)
