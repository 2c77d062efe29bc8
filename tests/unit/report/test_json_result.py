"""The JSON result as a file."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import jsonschema
import pytest

from pytest_inferbench.report.json_result import SCHEMA_PATH, SCHEMA_VERSION, result, write_result
from pytest_inferbench.report.record import measurement_record
from tests.unit.examples import SETTINGS as DEFAULTS
from tests.unit.examples import measurement

SETTINGS = {**DEFAULTS, "profiles": ["größer"]}


def test_the_document_says_what_it_is() -> None:
    """Schema version, the plugin's version, and when, with its time zone; an empty session fits the schema too."""
    document = result([], settings=SETTINGS)
    assert document["schema_version"] == SCHEMA_VERSION
    assert document["measurements"] == []
    assert datetime.fromisoformat(document["created"]).tzinfo is not None
    jsonschema.validate(document, json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))


def test_what_is_written_is_what_was_given(tmp_path: Path) -> None:
    """The folder is made, the text is UTF-8 with a newline at its end, and a result from before is replaced."""
    path = tmp_path / "new" / "folder" / "result.json"
    records = [measurement_record("t.py::test_ü", measurement())]
    write_result(path, [], settings=SETTINGS)
    write_result(path, records, settings=SETTINGS)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text)["measurements"] == records
    assert json.loads(text)["settings"] == {**SETTINGS, "confidence": 1 - 2 * SETTINGS["alpha"]}
    assert "größer" in text
    assert "test_ü" in text
    assert text.endswith("}\n")


def test_what_is_no_json_is_refused_and_the_old_result_stays(tmp_path: Path) -> None:
    """NaN never reaches a file that other programs read."""
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_result(path, [{"p50": float("nan")}], settings=SETTINGS)
    assert path.read_text() == "old"


def test_a_path_that_cannot_be_written_is_an_error_of_the_file_system(tmp_path: Path) -> None:
    """The caller gets the OSError, which it tells with the option's name."""
    (tmp_path / "occupied").write_text("")
    with pytest.raises(OSError, match="occupied"):
        write_result(tmp_path / "occupied" / "result.json", [], settings=SETTINGS)


def test_the_level_of_the_intervals_follows_from_alpha() -> None:
    """The settings state the level of all two-sided intervals, without a rounding error in the file."""
    assert result([], settings={**SETTINGS, "alpha": 0.05})["settings"]["confidence"] == 0.9
    assert result([], settings={**SETTINGS, "alpha": 0.01})["settings"]["confidence"] == 0.98
