"""The figures of a measurement as properties of its test case in a JUnit file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_inferbench.report.wording import is_comparison

if TYPE_CHECKING:
    from pytest_inferbench.report.record import Record

__all__ = ["PREFIX", "properties"]

#: Every property of ours starts with it.
PREFIX = "inferbench."


def properties(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Yield names and values; times in seconds, rates per second, error rates and margins as fractions.

    ``inferbench.WORKLOAD.PROFILE.p95`` and ``....p95.interval``; ``....regression`` and ``....slo`` are outcomes,
    ``....regression.p95.ratio`` and so on their figures. A name that would occur again ends in ``#2``, ``#3``, ...
    """
    used: Counter[str] = Counter()
    for record in records:
        head = _numbered(f"{PREFIX}{record['workload']['name']}.{record['profile']}", used)
        yield f"{head}.runs", str(len(record["runs"]))
        yield f"{head}.requests", str(record["requests"])
        yield f"{head}.failed", str(record["failed"])
        for metric, figure in record["figures"].items():
            if figure["estimate"] is not None:
                yield f"{head}.{metric}", str(figure["estimate"])
            if figure["interval"] is not None:
                yield f"{head}.{metric}.interval", _interval(figure["interval"])
        for verdict in record["verdicts"]:
            yield from _verdict(_numbered(f"{head}.{verdict['kind']}", used), verdict)


def _verdict(name: str, verdict: Record) -> Iterator[tuple[str, str]]:
    yield name, verdict["outcome"]
    for check in verdict["checks"]:
        one = f"{name}.{check['metric']}"
        yield one, check["outcome"]
        if is_comparison(check):
            yield f"{one}.ratio", str(check["ratio"])
            yield f"{one}.interval", _interval(check["interval"])
            yield f"{one}.margin", str(check["margin"])
            yield f"{one}.pairs", str(check["pairs"])
        else:
            yield f"{one}.limit", str(check["limit"])


def _numbered(name: str, used: Counter[str]) -> str:
    used[name] += 1
    return name if used[name] == 1 else f"{name}#{used[name]}"


def _interval(ends: list[object]) -> str:
    return " ".join(map(str, ends))
