"""A stored baseline that cannot be used: one clear error, before anything is booted, and the way out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_inferbench.machine.probe import describe_environment
from pytest_inferbench.storage.baselines import BaselineStore
from tests.plugin.conftest import ONE_MEASUREMENT, Bench


def stored(bench: Bench) -> Path:
    """Where the baseline of the test in ``test_gate.py`` lies."""
    store = BaselineStore(bench.path / "baselines")
    machine = describe_environment(bench.path).machine
    path = store.path(profile="baseline", machine=machine, test="test_gate.py::test_steady")
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": "pytest-inferbench-baseline", "ver', "*is not whole JSON*restore it from version control*"),
        (
            json.dumps({"format": "pytest-inferbench-baseline", "version": 99, "workloads": {}}),
            "*has format version 99, this is version 2: upgrade pytest-inferbench",
        ),
        ('{"benchmarks": []}', "*is not a baseline of this plugin*record it again with --update-baselines"),
    ],
)
def test_a_file_that_is_no_baseline(bench: Bench, text: str, message: str) -> None:
    """Truncated, of the future or somebody else's: the test fails at once, no minutes are spent on boots."""
    path = stored(bench)
    path.write_text(text)
    bench.pytester.makepyfile(test_gate=ONE_MEASUREMENT)
    session = bench.run()
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines([f"E*BaselineError: baseline {path} {message}"])
    assert bench.boots == []


def test_a_damaged_file_is_replaced_when_asked(bench: Bench) -> None:
    """--update-baselines is the way out of a damaged file."""
    path = stored(bench)
    path.write_text("{")
    bench.pytester.makepyfile(test_gate=ONE_MEASUREMENT)
    bench.run("--update-baselines").result.assert_outcomes(passed=1)
    assert json.loads(path.read_text())["workloads"]["steady"]["runs"]


def test_a_newer_file_is_not_replaced_and_costs_no_boot(bench: Bench) -> None:
    """--update-baselines leaves what a newer version wrote alone, and says so before anything is measured."""
    path = stored(bench)
    text = json.dumps({"format": "pytest-inferbench-baseline", "version": 99, "workloads": {}})
    path.write_text(text)
    bench.pytester.makepyfile(test_gate=ONE_MEASUREMENT)
    session = bench.run("--update-baselines")
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(["E*NewerBaselineError: *upgrade pytest-inferbench"])
    assert bench.boots == []
    assert path.read_text() == text
