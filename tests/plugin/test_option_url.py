"""--inferbench-url: a running endpoint instead of a boot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.plugin.conftest import ONE_MEASUREMENT, Bench, free_port, until


@pytest.fixture
def endpoint(bench: Bench) -> Iterator[str]:
    """The loopback service, started by somebody else."""
    profile = json.dumps({"name": "given", "runtime": {"delay": 0.005}})
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "loopback_service.py", str(port)],
        cwd=bench.path,
        env={**os.environ, "INFERBENCH_PROFILE": profile},
        stdout=subprocess.DEVNULL,
    )
    with process:
        until(lambda: bench.boots)
        yield f"http://127.0.0.1:{port}"
        assert process.poll() is None, "a service given by URL is not ours to end"
        process.kill()


def test_the_configured_path_at_another_host(bench: Bench, endpoint: str) -> None:
    """A URL without a path is the host of the configured path; nothing of ours is booted."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    bench.run(f"--inferbench-url={endpoint}").result.assert_outcomes(passed=1)
    assert {request["path"] for request in bench.requests if request["method"] == "POST"} == {"/predict"}
    assert len(bench.boots) == 1


def test_a_url_with_a_path_is_the_endpoint(bench: Bench, endpoint: str) -> None:
    """A URL with a path is where every request goes, whatever the configuration says."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    bench.run(f"--inferbench-url={endpoint}/v2/models/x").result.assert_outcomes(passed=1)
    assert {request["path"] for request in bench.requests if request["method"] == "POST"} == {"/v2/models/x"}


def test_nothing_listening_is_told_with_the_address(bench: Bench) -> None:
    """Where nothing listens the test fails with address, cause and option; credentials are not shown."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    port = free_port()
    session = bench.run(f"--inferbench-url=http://user:secret@127.0.0.1:{port}")
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines([f"E*nothing usable answers at 127.0.0.1:{port} *correct --inferbench-url"])
    assert "secret" not in session.output.replace(str(bench.path), "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--inferbench-url=localhost:80",), "--inferbench-url must start with http:// or https://*'localhost:80'"),
        (("--inferbench-url=http://127.0.0.1:1", "--against=other"), "--inferbench-url tests one running endpoint*"),
        (
            ("--inferbench-url=http://127.0.0.1:1", "--profile=other", "--profile=baseline"),
            "--inferbench-url tests one running endpoint*",
        ),
    ],
)
def test_what_does_not_go_with_a_url(bench: Bench, options: tuple[str, ...], message: str) -> None:
    """A profile cannot change an endpoint that runs already: two sides of one URL are refused at the start."""
    bench.configure(profiles={"baseline": {}, "other": {}})
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run(*options)
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    session.result.stderr.fnmatch_lines([f"ERROR: inferbench: {message}"])
