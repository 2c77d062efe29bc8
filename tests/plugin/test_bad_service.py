"""A service that cannot be measured: the test fails with what it did, its log, and what to do."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest

from pytest_inferbench.config.profile import resolve_profile
from pytest_inferbench.deployment.local import Launch
from tests.plugin.conftest import ONE_MEASUREMENT, Bench, free_port


@pytest.fixture(autouse=True)
def _one_test(bench: Bench) -> None:
    bench.pytester.makepyfile(ONE_MEASUREMENT)


def test_a_command_that_does_not_exist(bench: Bench) -> None:
    """The error names the command and that it cannot be run."""
    bench.configure(head='command = ["no-such-program", "{port}"]')
    session = bench.run()
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(
        ["E*DeploymentError: *", "E*command: no-such-program *", "E*cannot run no-such-program: *No such file*"]
    )


def test_the_traceback_ends_in_the_test(bench: Bench) -> None:
    """An error that its message explains shows the line that measured and none of ours, but with --full-trace."""
    bench.configure(head='command = ["no-such-program", "{port}"]')
    session = bench.run()
    session.result.stdout.fnmatch_lines([">*.measure(*", "E*DeploymentError: *", "*test_*.py:*: DeploymentError"])
    session.result.stdout.no_fnmatch_line("*harness.py*")
    bench.run("--full-trace").result.stdout.fnmatch_lines(["*harness.py*"])


def test_a_service_that_exits_at_once_shows_the_end_of_its_log(bench: Bench) -> None:
    """Exit status, command, directory and the log's last lines are in the error."""
    bench.configure(profiles={"baseline": {"exit": "cannot load model x.onnx"}})
    session = bench.run()
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(
        [
            "E*DeploymentError: the service exited with status 3 while booting (profile 'baseline')",
            "E*command: * loopback_service.py *",
            f"E*directory: {bench.path}",
            "E*| cannot load model x.onnx",
        ]
    )


def test_a_service_that_never_gets_ready(bench: Bench) -> None:
    """After --inferbench-boot-timeout the wait ends; the error says what was asked, the log, and the option."""
    bench.configure(profiles={"baseline": {"ready": False}})
    session = bench.run("--inferbench-boot-timeout=6s")
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(
        [
            "E*the service was not ready after 6 s (GET /readyz never answered 200)*--inferbench-boot-timeout*",
            "E*| listening on *",
        ]
    )


@pytest.mark.usefixtures("_real_examination")
def test_a_service_that_answers_500_to_everything(bench: Bench) -> None:
    """Nothing is measured: the error says how many requests failed, how, what one was told, and what to check."""
    bench.configure(profiles={"baseline": {"status": 500}})
    session = bench.run()
    session.result.assert_outcomes(failed=1)
    assert session.measurements == []
    session.result.stdout.fnmatch_lines(
        [
            "E*DeploymentError: every one of the first 24 requests to http://127.0.0.1:*/predict failed (24 x st*",
            "E*it answered 500: 'the model is broken'",
            "E*check `path` in *tool.inferbench* and the fixtures inference_payloads and inference_target",
            "E*end of the service's log:",
            "E*| listening on *",
        ]
    )


def test_a_service_that_dies_under_load_is_a_result(bench: Bench) -> None:
    """A process that exits in the run leaves a measurement with failures and a finding, not an error."""
    bench.configure(profiles={"baseline": {"dies_after": 20}})
    session = bench.run()
    session.result.assert_outcomes(passed=1)
    (measurement,) = session.measurements
    assert measurement["failed"] > 0
    assert [(finding["rule"], finding["kind"]) for finding in measurement["findings"]] == [("died", "service")]
    session.result.stdout.fnmatch_lines(["*died: run 1 (baseline): the service's process ended*"])


def test_bentoml_that_is_not_installed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """``service`` without the extra: the error names the missing package and the command that installs it."""
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bentoml" else found(name, *rest)
    )
    bench.configure(head='service = "app:Service"')
    session = bench.run()
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(
        [
            "E*DeploymentError: cannot boot 'app:Service': BentoML is not installed in this environment *; "
            "run: pip install 'pytest-inferbench*service*'"
        ]
    )


def test_a_bentoml_service_is_nobody_elses_business(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """BentoML would listen on every interface; the command that boots it binds it to the loopback one."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    profile = resolve_profile("baseline", {"baseline": {}}, where="x")
    words = Launch(service="app:Service", cwd=tmp_path).arguments(port=4711, profile=profile)
    assert words[2:] == ["bentoml", "serve", "app:Service", "--host", "127.0.0.1", "--port", "4711"]


def test_nothing_to_boot(bench: Bench) -> None:
    """Without service, command and URL the error lists the three."""
    bench.configure(head="#")
    session = bench.run()
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(["E*no service to boot: set `service`*or `command`*or pass --inferbench-url*"])


def test_a_port_that_is_taken(bench: Bench) -> None:
    """A fixed port that somebody listens on is told before booting, with the pid of that process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        bench.configure(tail=f"[tool.inferbench.profiles.fixed]\ndeployment = {{ port = {port} }}")
        session = bench.run("--profile=fixed")
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(
        [f"E*port {port} (deployment.port of profile 'fixed') cannot be used: Address already*remove deployment.port*"]
    )
    assert bench.boots == []


def test_a_fixed_port_that_is_free_is_used(bench: Bench) -> None:
    """``deployment.port`` is where the service listens, boot after boot."""
    port = free_port()
    bench.configure(tail=f"[tool.inferbench.profiles.fixed]\ndeployment = {{ port = {port} }}")
    bench.run("--profile=fixed", repeats=2).result.assert_outcomes(passed=1)
    assert [boot["port"] for boot in bench.boots] == [port, port]


def test_only_the_end_of_a_long_log_is_shown(bench: Bench) -> None:
    """A service that fails after much output fills no screen: the last lines count."""
    code = "print('noise\\n' * 5000 + 'the cause'); raise SystemExit(1)"
    bench.configure(head=f"command = {json.dumps([sys.executable, '-c', code, '{port}'])}")
    session = bench.run()
    session.result.stdout.fnmatch_lines(["E*| the cause"])
    assert session.output.count("| noise") < 30


def test_a_cpu_that_is_not_there(bench: Bench) -> None:
    """An affinity beyond this machine's CPUs is told before booting, with those that may be used."""
    bench.configure(tail="[tool.inferbench.profiles.wide]\ndeployment = { affinity = [0, 4000] }")
    session = bench.run("--profile=wide")
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(
        ["E*deployment.affinity of profile 'wide' names CPU 4000, but this process may *"]
    )
    assert bench.boots == []
