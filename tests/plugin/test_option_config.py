"""--inferbench-config and inferbench_config: another TOML file, same tables, no prefix."""

from __future__ import annotations

import json
import sys

import pytest

from tests.plugin.conftest import ONE_MEASUREMENT, Bench


def test_another_file_replaces_the_table(bench: Bench) -> None:
    """Command, path, ready, profiles and workloads come from the file alone; pyproject.toml's are not read."""
    bench.configure(tail='[tool.pytest.ini_options]\ninferbench_config = "bench/inferbench.toml"')
    (bench.path / "bench").mkdir()
    (bench.path / "bench" / "inferbench.toml").write_text(
        f"""
        command = {json.dumps([sys.executable, "loopback_service.py", "{port}"])}
        path = "/other"
        ready = "/up"
        [profiles.lean]
        runtime = {{ delay = 0.001 }}
        [workloads]
        steady = {{ rate = "100/s", duration = "300ms" }}
        """
    )
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run("--profile=lean")
    session.result.assert_outcomes(passed=1)
    assert session.measurements[0]["workload"]["rate"] == 100
    assert {request["path"] for request in bench.requests} == {"/other"}


def test_a_file_that_is_not_there(bench: Bench) -> None:
    """A configuration file that was asked for by name must exist."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run("--inferbench-config=nowhere.toml")
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    session.result.stderr.fnmatch_lines(["ERROR: inferbench: *there is no file *nowhere.toml"])
