"""Traces: recorded arrivals from a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pytest_inferbench.errors import ConfigurationError
from pytest_inferbench.workload.arrivals import Replay

__all__ = ["read_trace"]


def read_trace(path: str | Path, *, timestamp: str | None = None, size: str | None = None) -> Replay:
    """Return the arrivals that the CSV file ``path`` records, counted from the first of them.

    The file begins with a line of column names. ``timestamp``: the column that says when (default: the first), as
    ISO 8601 or in seconds; ``size``: a column of whole numbers that says how large (default: none). Lines need not
    be in order. Raises ConfigurationError naming the file, the line and what is wrong with it.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"the trace {path} cannot be read: {error}") from error
    if not rows:
        raise ConfigurationError(f"the trace {path} is empty; it must begin with a line of column names")
    when = _column(rows[0], timestamp, path) if timestamp is not None else 0
    large = None if size is None else _column(rows[0], size, path)
    found: list[tuple[float, int]] = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        try:
            found.append((_seconds(row[when]), 0 if large is None else int(row[large])))
        except (ValueError, IndexError) as error:
            raise ConfigurationError(f"the trace {path}, line {number}: {error}; it says {row!r:.80}") from error
    if not found:
        raise ConfigurationError(f"the trace {path} has no line but that of the column names")
    found.sort(key=lambda pair: pair[0])
    sizes = None if large is None else [pair[1] for pair in found]
    return Replay([pair[0] - found[0][0] for pair in found], sizes)


def _column(names: Sequence[str], name: str, path: Path) -> int:
    stripped = [each.strip() for each in names]
    if name not in stripped:
        raise ConfigurationError(f"the trace {path} has no column {name!r}; its columns are {', '.join(stripped)}")
    return stripped.index(name)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
