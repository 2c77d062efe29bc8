"""A loopback server with known behaviour, in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("loopback_server.py")


@dataclass(frozen=True, slots=True)
class LoopbackServer:
    """Where the server listens, and what it has seen since the test began."""

    port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read()

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Every request in order of arrival: method, path, headers (lower-case names), body."""
        seen: list[dict[str, Any]] = json.loads(self.get("/stats"))["requests"]
        return seen

    @property
    def connections(self) -> int:
        """Connections accepted, the one that asks not counted."""
        return int(json.loads(self.get("/stats"))["connections"]) - 1


@contextlib.contextmanager
def run_server(*arguments: str, scheme: str = "http") -> Iterator[LoopbackServer]:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        try:
            yield LoopbackServer(int(process.stdout.readline()), scheme)
        finally:
            process.kill()


@pytest.fixture(scope="session")
def _session_server() -> Iterator[LoopbackServer]:
    with run_server() as server:
        yield server


@pytest.fixture
def server(_session_server: LoopbackServer) -> LoopbackServer:
    """The server of the session, with nothing on record."""
    _session_server.get("/reset-stats")
    return _session_server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one PEM file."""
    folder = tmp_path_factory.mktemp("tls")
    try:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "2", "-subj", "/CN=inferbench test", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
            ],
            check=True,
            capture_output=True,
        )
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl makes no certificate here: {error}")
    both = folder / "both.pem"
    both.write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return both


@pytest.fixture(scope="session")
def tls_server(certificate: Path) -> Iterator[LoopbackServer]:
    """The same server over TLS with a certificate that nobody trusts."""
    with run_server(str(certificate), scheme="https") as server:
        yield server
