"""``kubectl port-forward`` to a Service: the way in where no node's address can be reached from here."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pytest_inferbench.deployment.helper_process import helper_command
from pytest_inferbench.deployment.kubernetes.kubectl import Kubectl
from pytest_inferbench.deployment.local import HOST, free_port

__all__ = ["PortForward"]


class PortForward:
    """A tunnel to *one* pod of a Service. It ends with that pod, and with this process.

    What goes through it is slower than the service, and knows nothing of the other replicas: whoever uses it says so.
    """

    def __init__(self, kubectl: Kubectl, service: str, port: int, *, log: Path) -> None:
        self._port = free_port()
        self._log = log
        command = kubectl.command("port-forward", f"--address={HOST}", f"service/{service}", f"{self._port}:{port}")
        self._process = subprocess.Popen(
            helper_command("run", str(log), "", "0", "--", *command),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def url(self) -> str:
        """The base URL on this machine."""
        return f"http://{HOST}:{self._port}"

    @property
    def alive(self) -> bool:
        """False once it has ended."""
        return self._process.poll() is None

    def last_line(self) -> str:
        """Return the last line that it printed."""
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return ""
        return next((line for line in reversed(lines) if line.strip()), "")

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
