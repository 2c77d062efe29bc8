"""The result of a session as JSON, to the schema beside this file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the process that reports needs no numpy
    from pytest_inferbench.report.record import Record

__all__ = ["SCHEMA_PATH", "SCHEMA_VERSION", "result", "write_result"]

SCHEMA_VERSION = 2
SCHEMA_PATH = Path(__file__).with_name("result.schema.json")


def result(records: Sequence[Record], capacities: Sequence[Record] = (), *, settings: Record) -> Record:
    """Return the document: what was asked for, and every measurement with its verdicts."""
    return {
        "schema_version": SCHEMA_VERSION,
        "pytest_inferbench": version("pytest-inferbench"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {**settings, "confidence": round(1 - 2 * settings["alpha"], 9)},
        "measurements": list(records),
        "capacities": list(capacities),
    }


def write_result(path: Path, records: Sequence[Record], capacities: Sequence[Record] = (), *, settings: Record) -> None:
    """Write the document to ``path``, making its folder if need be. Raises OSError if that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result(records, capacities, settings=settings), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
