"""The figures of a measurement as properties of its test case in a JUnit file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_inferbench.report.words import is_comparison

if TYPE_CHECKING:
    from pytest_inferbench.report.record import Record

__all__ = ["PREFIX", "properties"]

#: Every property of ours starts with it.
PREFIX = "inferbench."


def properties(record: Record) -> Iterator[tuple[str, str]]:
    """Yield names and values; times in seconds, rates per second, error rates and margins as fractions.

    ``inferbench.WORKLOAD.PROFILE.p95`` and ``....p95.interval``; ``....regression`` and ``....slo`` are outcomes,
    ``....regression.p95.ratio`` and so on their figures.
    """
    head = f"{PREFIX}{record['workload']['name']}.{record['profile']}"
    yield f"{head}.runs", str(len(record["runs"]))
    yield f"{head}.requests", str(record["requests"])
    yield f"{head}.failed", str(record["failed"])
    for metric, figure in record["figures"].items():
        if figure["estimate"] is not None:
            yield f"{head}.{metric}", str(figure["estimate"])
        if figure["interval"] is not None:
            yield f"{head}.{metric}.interval", _interval(figure["interval"])
    for verdict in record["verdicts"]:
        kind = f"{head}.{verdict['kind']}"
        yield kind, verdict["outcome"]
        for check in verdict["checks"]:
            name = f"{kind}.{check['metric']}"
            yield name, check["outcome"]
            if is_comparison(check):
                yield f"{name}.ratio", str(check["ratio"])
                yield f"{name}.interval", _interval(check["interval"])
                yield f"{name}.margin", str(check["margin"])
                yield f"{name}.pairs", str(check["pairs"])
            else:
                yield f"{name}.limit", str(check["limit"])


def _interval(ends: list[object]) -> str:
    return " ".join(map(str, ends))
