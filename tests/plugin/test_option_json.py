"""--inferbench-json: the result, to its published schema."""

from __future__ import annotations

import json

import jsonschema
import pytest

from pytest_inferbench.report.json_result import SCHEMA_PATH
from tests.plugin.conftest import ONE_MEASUREMENT, Bench


def test_the_result_validates_against_the_published_schema(bench: Bench) -> None:
    """Failures, infinite figures, SLO and regression verdicts and a reference all fit the schema."""
    bench.configure(profiles={"baseline": {"delay": 0.004}, "dying": {"delay": 0.004, "dies_after": 40}})
    bench.pytester.makepyfile(
        """
        from pytest_inferbench import SLO

        async def test_all(inference_service, steady):
            measurement = await steady.measure(inference_service)
            verdicts = [
                measurement.meets(SLO(p50="1ms", p95="1s", error_rate="1%", throughput="9000/s")),
                measurement.has_not_regressed(metrics=("p50", "p95", "error_rate", "throughput")),
            ]
            assert not all(verdicts)
        """
    )
    session = bench.run("--profile=dying", "--against=baseline")
    session.result.assert_outcomes(passed=1)
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(session.document, schema, format_checker=jsonschema.FormatChecker())
    (measurement,) = session.measurements
    assert measurement["failed"] > 0
    assert measurement["figures"]["p99"]["estimate"] == "inf"
    assert measurement["reference"]["failed"] == 0
    assert [verdict["kind"] for verdict in measurement["verdicts"]] == ["slo", "regression"]
    assert any(finding["rule"] == "died" for finding in measurement["findings"])


def test_the_schema_is_closed() -> None:
    """A key that the schema does not know is refused, so that the schema stays the truth about the result."""
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    result = {
        "schema_version": 2,
        "pytest_inferbench": "0",
        "created": "2026-01-01T00:00:00+00:00",
        "settings": {
            "profiles": ["baseline"],
            "against": None,
            "repeats": 1,
            "duration": 0.3,
            "budget": None,
            "seed": 0,
            "alpha": 0.05,
            "confidence": 0.9,
            "strict": False,
        },
        "measurements": [],
        "capacities": [],
    }
    jsonschema.validate(result, schema)
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        jsonschema.validate({**result, "surprise": 1}, schema)


def test_the_folder_is_made_and_relative_paths_start_where_pytest_was_started(bench: Bench) -> None:
    """A path below the invocation's folder that does not exist yet is created, even for a session without tests."""
    bench.pytester.makepyfile("def test_nothing(): pass")
    result = bench.pytester.runpytest_inprocess("--inferbench-json=new/folder/result.json")
    assert result.ret == 0
    assert json.loads((bench.path / "new/folder/result.json").read_text())["measurements"] == []


def test_a_path_that_cannot_be_written_is_told_and_fails_the_session(bench: Bench) -> None:
    """The summary is still shown, the session fails, and the message names path and cause."""
    (bench.path / "occupied").write_text("")
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    result = bench.pytester.runpytest_inprocess("--inferbench-repeats=1", "--inferbench-json=occupied/result.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*--inferbench-json: cannot write *occupied/result.json: *", "steady *"])
    assert result.ret != 0


def test_a_folder_as_the_path_is_refused_before_anything_runs(bench: Bench) -> None:
    """A mistake that is visible at the start does not cost a benchmark."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    result = bench.pytester.runpytest_inprocess("--inferbench-json=.")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: inferbench: --inferbench-json: * is a folder*"])
    assert bench.boots == []
