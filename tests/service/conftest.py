"""Shared by the tests of the service: one tiny model in a cache of its own, and the real service as a subprocess."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

ROOT = Path(__file__).parents[2]
TINY = "embedded:tiny"
BOOT_SECONDS = 90

BASELINE: Mapping[str, Any] | None = None
OPTIMIZED: Mapping[str, Any] = {
    "name": "optimized",
    "runtime": {"engine": "onnxruntime", "precision": "int8", "threads": 1},
    "service": {"batching": True, "max_batch_size": 8, "max_latency_ms": 20000, "access_log": False, "tracing": False},
    "deployment": {"kind": "local", "workers": 1},
}


def service_environment(cache: Path, profile: Mapping[str, Any] | str | None, **extra: str) -> dict[str, str]:
    """An environment for a service process: this one's, without any setting of the machine's own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("INFERBENCH_")}
    env |= {"INFERBENCH_CACHE": str(cache), "INFERBENCH_MODEL": TINY, "PYTHONUNBUFFERED": "1"}
    if profile is not None:
        env["INFERBENCH_PROFILE"] = profile if isinstance(profile, str) else json.dumps(profile)
    return env | extra


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve_command(port: int, what: str = "service.app:SentimentService") -> list[str]:
    return [sys.executable, "-m", "bentoml", "serve", what, "--host", "127.0.0.1", "--port", str(port)]


@dataclass(frozen=True, slots=True)
class Served:
    """A service that is up."""

    client: httpx.Client
    process: subprocess.Popen[bytes]
    log: Path


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that holds the tiny model and all its artifacts, built as a user would."""
    folder = tmp_path_factory.mktemp("inferbench-cache")
    built = subprocess.run(
        [sys.executable, "-m", "service.build", "--model", TINY, "--all"],
        cwd=ROOT,
        env=service_environment(folder, None),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="session")
def served(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """A function that boots the service under a profile (once per profile) and returns it ready."""
    running: dict[str, Served] = {}

    def boot(profile: Mapping[str, Any] | None) -> Served:
        key = json.dumps(profile, sort_keys=True)
        if key not in running:
            log = tmp_path_factory.mktemp("service") / "log"
            running[key] = boot_service(tiny_cache, profile, log)
        return running[key]

    yield boot
    for one in running.values():
        one.client.close()
        end(one.process)


def boot_service(
    cache: Path,
    profile: Mapping[str, Any] | None,
    log: Path,
    *,
    what: str = "service.app:SentimentService",
    cwd: Path = ROOT,
    **extra: str,
) -> Served:
    """Boot ``what``, the service here or a built bento, and return it ready. ``extra``: environment variables."""
    port = free_port()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            serve_command(port, what),
            cwd=cwd,
            env=service_environment(cache, profile, **extra),
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            if client.get("/readyz", timeout=2).status_code == 200:
                return Served(client, process, log)
        except httpx.TransportError:
            time.sleep(0.05)
        if process.poll() is not None or time.monotonic() > deadline:
            client.close()
            end(process)
            pytest.fail(f"the service did not get ready:\n{log.read_text()}")


def end(process: subprocess.Popen[bytes]) -> None:
    """End the process and everything it started. Its workers live in process groups of their own."""
    try:
        workers = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        workers = []
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
    process.wait()
