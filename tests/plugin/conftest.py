"""A project to run the plugin in: a configuration, a loopback service, and what came of a session."""

from __future__ import annotations

import importlib
import json
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_inferbench.harness.trial import Procedure
from pytest_inferbench.judgement.validity import Finding
from pytest_inferbench.plugin.session import PROCEDURE
from tests.plugin.stated_latencies import state_latencies

# pytester forgets what a session in this process imported first; numpy, httpx, matplotlib and we do not bear a second
# import.
for _module in ("httpcore", "hypothesis", "scipy.stats", "psutil", "matplotlib.figure"):
    importlib.import_module(_module)
for _module in (
    "harness.handles",
    "deployment.local",
    "deployment.external",
    "report.record",
    "report.terminal",
    "report.json_result",
):
    importlib.import_module(f"pytest_inferbench.{_module}")

SERVICE = Path(__file__).with_name("loopback_service.py")
STATED = Path(__file__).with_name("stated_latencies.py")

#: Every test that only needs a measurement uses this one.
ONE_MEASUREMENT = """
async def test_steady(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.runs
"""

#: What a process of pytest-xdist tells its children; pytest-benchmark, for one, measures nothing where it finds them.
XDIST = ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID")
GITHUB = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE")

#: pytest-asyncio advises everybody who does not configure it, and our users need not.
ASYNCIO_ADVICE = "-Wignore:The configuration option"


async def _warm_already(*args: object) -> tuple[Finding, ...]:
    return ()


#: A calm machine, of a constant speed: these tests prove what the plugin does, not that nothing else runs here.
CALM = Procedure(warm_up=_warm_already, examine=lambda run: (), measure_speed=lambda: 1_000_000)


#: The same for sessions in other processes, as a conftest of theirs.
CALM_CONFTEST = """
from pytest_inferbench.harness.trial import Procedure
from pytest_inferbench.plugin.session import PROCEDURE
from stated_latencies import state_latencies

async def warm_already(*args):
    return ()

def pytest_configure(config):
    state_latencies(config)
    config.stash[PROCEDURE] = Procedure(warm_up=warm_already, examine=lambda run: (), measure_speed=lambda: 1_000_000)
"""


@dataclass(slots=True)
class Surroundings:
    """A plugin of the inner session, for sessions in this process: what surrounds the load in each trial.

    Whether a run was fair is proved by the tests of validity and warm-up.
    """

    procedure: Procedure = CALM

    def pytest_configure(self, config: pytest.Config) -> None:
        """Put it where the session looks for it, and believe a service that states its latencies."""
        state_latencies(config)
        config.stash[PROCEDURE] = self.procedure


@dataclass(frozen=True, slots=True)
class Session:
    """What one inner pytest session came to."""

    result: pytest.RunResult
    document: dict[str, Any] | None

    @property
    def output(self) -> str:
        return self.result.stdout.str()

    @property
    def everything(self) -> str:
        return self.output + self.result.stderr.str()

    @property
    def measurements(self) -> list[dict[str, Any]]:
        """The measurements of the JSON result."""
        assert self.document is not None, self.everything
        found: list[dict[str, Any]] = self.document["measurements"]
        return found

    @property
    def verdicts(self) -> list[str]:
        """The outcome of every verdict, in order."""
        return [verdict["outcome"] for measurement in self.measurements for verdict in measurement["verdicts"]]


@dataclass(frozen=True, slots=True)
class Bench:
    """A project in a temporary folder whose service is the loopback one."""

    pytester: pytest.Pytester
    surroundings: Surroundings

    @property
    def path(self) -> Path:
        return self.pytester.path

    def configure(
        self,
        *,
        profiles: dict[str, dict[str, Any]] | None = None,
        head: str = "",
        tail: str = "",
        warmup: str | None = None,
        rate: float = 160,
        duration: str = "0.5s",
    ) -> None:
        """Write pyproject.toml; ``profiles`` gives the ``runtime`` table of each profile.

        A test whose outcome depends on latencies gives its profiles ``answer``, which no busy machine changes.
        Without ``warmup`` sessions in other processes do not warm up either, unless the test asks for the real
        procedure: the loopback service has nothing to warm, and that takes seconds for each boot.
        """
        command = json.dumps([sys.executable, "loopback_service.py", "{port}"])
        lines = ["[tool.inferbench]", 'path = "/predict"', head or f"command = {command}"]
        if warmup is None and self.surroundings.procedure.warm_up is CALM.warm_up and "warmup" not in head:
            warmup = '"off"'
        lines += [] if warmup is None else [f"warmup = {warmup}"]
        for name, runtime in (profiles or {"baseline": {"delay": 0.005}}).items():
            values = ", ".join(f"{key} = {json.dumps(value)}" for key, value in runtime.items())
            lines += [f"[tool.inferbench.profiles.{name}]", f"runtime = {{ {values} }}"]
        lines += ["[tool.inferbench.workloads]"]
        cv = {"steady": 1, "bursty": 3, "high_intensity": 1}
        lines += [f'{name} = {{ rate = {rate}, cv = {cv[name]}, duration = "{duration}" }}' for name in cv]
        (self.path / "pyproject.toml").write_text("\n".join([*lines, tail]) + "\n", encoding="utf-8")

    def run(self, *arguments: str, repeats: int | None = 1, subprocess: bool = False) -> Session:
        """Run pytest with a JSON result, warnings as errors, and one repeat unless told otherwise."""
        given = ["-Werror", ASYNCIO_ADVICE, *arguments]
        if repeats is not None:
            given.append(f"--inferbench-repeats={repeats}")
        path = self.path / "result.json"
        path.unlink(missing_ok=True)
        given.append(f"--inferbench-json={path}")
        if subprocess:
            result = self.pytester.runpytest_subprocess(*given)
        else:
            result = self.pytester.runpytest_inprocess(*given, plugins=[self.surroundings])
        return Session(result, json.loads(path.read_text(encoding="utf-8")) if path.exists() else None)

    def lines(self, name: str) -> list[dict[str, Any]]:
        path = self.path / name
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    @property
    def boots(self) -> list[dict[str, Any]]:
        """Every boot of the service so far: pids, port, profile."""
        return self.lines("boots.jsonl")

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Every request that the service got so far: method, path, headers, body."""
        return self.lines("requests.jsonl")

    @property
    def baselines(self) -> list[str]:
        """The stored baselines, as paths below their folder, without the machine's name."""
        root = self.path / "baselines"
        return sorted(f"{path.parts[-3]}/{path.parts[-1]}" for path in root.glob("*/*/*.json"))


def free_port() -> int:
    """Return a port on which nobody listens just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    """Wait until ``condition`` holds; the deadline is only there to end a test that has failed anyway."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No setting of the machine's own, and a machine lock that no real session holds."""
    for name in ("CI", "INFERBENCH_PROFILE", "COLUMNS", "FORCE_COLOR", "PY_COLORS", *GITHUB, *XDIST):
        monkeypatch.delenv(name, raising=False)
    folder = str(tmp_path_factory.mktemp("temporary"))
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setattr(tempfile, "tempdir", folder)


@pytest.fixture
def surroundings() -> Surroundings:
    """Let a test choose what surrounds the load; a calm machine unless it does."""
    return Surroundings()


@pytest.fixture
def _real_examination(surroundings: Surroundings) -> None:
    """Warm up and examine as for users; the loopback service sleeps, whatever the machine's speed."""
    surroundings.procedure = Procedure(measure_speed=CALM.measure_speed)


@pytest.fixture
def bench(pytester: pytest.Pytester, surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A project with the loopback service and the profile ``baseline``, but without tests."""
    # After pytester, which removes it.
    monkeypatch.setenv("PYTEST_ADDOPTS", f"'{ASYNCIO_ADVICE}'")
    for file in (SERVICE, STATED):
        shutil.copy(file, pytester.path)
    bench = Bench(pytester, surroundings)
    bench.configure()
    return bench
