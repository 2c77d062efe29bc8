"""The text of a stored baseline: written so that a diff can be read, read as if somebody hostile had written it."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.runs.run import Failure, Run

__all__ = ["FORMAT_VERSION", "MAX_BYTES", "Baseline", "BaselineFile", "FutureVersion", "Unusable", "decode", "encode"]

#: What is written. A file of version 1 has no sizes of payloads and is read like any other.
FORMAT_VERSION = 2
_READ = (1, FORMAT_VERSION)
#: Ten runs of five minutes at a thousand requests per second. Nothing larger is read, nor written.
MAX_BYTES = 64 * 2**20
_FORMAT = "pytest-inferbench-baseline"
#: Eleven days in microseconds: far beyond any run, far below what overflows in nanoseconds.
_MAX_US = 10**12
_MAX_SEED = 2**128
_MAX_TEXT = 10_000
_MAX_FACTS, _MAX_DEPTH = 1000, 6
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: Beside the lists below a run may hold ``issue_delay_us`` (how late each request left) and ``server_timing_us`` (what
#: the service reported, in thousandths of its unit, -1 where a response lacked it), of at most so many metrics,
#: ``size`` (of the payloads, in tokens) and ``calibration_us`` (of the machine).
_MAX_TIMINGS = 50
_TIMES = (-1, _MAX_US)
_SIZES = (0, 10**9)
_ITEMS = {"scheduled_us": (0, _MAX_US), "latency_us": _TIMES, "status": (0, 999), "failure": (0, max(Failure))}


@dataclass(frozen=True, slots=True)
class Baseline:
    """What one workload of one test measured: the runs, each from its own boot, and where.

    ``selfcheck``: what comparisons of the service with itself said about that machine, if they were made. ``curve``:
    the cost curve of the runs as it was fitted, for whoever reads the file; comparisons fit it again.
    """

    workload: Mapping[str, object]
    environment: Mapping[str, object]
    recorded: str
    runs: tuple[Run, ...]
    selfcheck: Mapping[str, object] | None = None
    curve: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class BaselineFile:
    """What one file holds: the test as pytest names it, and its baselines by workload name."""

    test: str
    baselines: Mapping[str, Baseline]


class Unusable(ValueError):
    """The text is not a baseline that can be used. The message goes on from "baseline PATH ..."."""


class FutureVersion(Unusable):
    """A newer version of this plugin wrote it: whole and useful, but not here."""


def encode(file: BaselineFile) -> bytes:
    """Return the text of ``file``. Raises Unusable if it could not be read again: larger or stranger than allowed."""
    document = {
        "format": _FORMAT,
        "version": FORMAT_VERSION,
        "test": file.test,
        "workloads": {name: _entry(baseline) for name, baseline in file.baselines.items()},
    }
    try:
        # A lone surrogate becomes its own JSON escape.
        data = ("".join(_text(document, "\n")) + "\n").encode("utf-8", "backslashreplace")
    except (TypeError, ValueError, RecursionError) as error:
        raise Unusable(f"has a value that is not JSON ({error})") from error
    decode(data)
    return data


def decode(data: bytes) -> BaselineFile:
    """Return what the file holds. Raises Unusable for anything else than a whole, sane file of ours."""
    if len(data) > MAX_BYTES:
        raise Unusable(f"is larger than {MAX_BYTES >> 20} MiB")
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"is not whole JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise Unusable(f'is not a baseline of this plugin (no "format": "{_FORMAT}")')
    version = document.get("version")
    if type(version) is not int or version not in _READ:
        message = f"has format version {reprlib.repr(version)}, this is version {FORMAT_VERSION}"
        raise (FutureVersion if type(version) is int and version > FORMAT_VERSION else Unusable)(message)
    test, workloads = document.get("test", ""), _table(document.get("workloads"), "workloads")
    return BaselineFile(
        test=_string(test, "test"),
        baselines={
            _string(name, "workloads"): _baseline(entry, f"workloads.{_short(name)}")
            for name, entry in workloads.items()
        },
    )


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unusable(f"has no usable {where!r}")
    return value


def _string(value: object, where: str) -> str:
    # Control characters could make a terminal show something else than what was measured.
    if not isinstance(value, str) or len(value) > _MAX_TEXT or _CONTROL.search(value):
        raise Unusable(f"has no usable {where!r}")
    return value


def _facts(value: object, where: str) -> dict[str, object]:
    """Return a table as it is, if it is small enough to be shown: it ends up in messages."""
    table = _table(value, where)
    level: list[object] = [table]
    seen = 0
    for _ in range(_MAX_DEPTH):
        level = [
            item
            for node in level
            if isinstance(node, dict | list)
            for item in ((*node, *node.values()) if isinstance(node, dict) else node)
        ]
        seen += len(level)
        for item in level:
            if isinstance(item, float) and not math.isfinite(item):
                raise Unusable(f"has a number that is not finite in {where!r}")
            if isinstance(item, str):
                _string(item, where)
    if level or seen > _MAX_FACTS:
        raise Unusable(f"has too much, or too deeply nested, in {where!r}")
    return table


def _baseline(entry: object, where: str) -> Baseline:
    table = _table(entry, where)
    runs = table.get("runs")
    if not isinstance(runs, list) or not runs:
        raise Unusable(f"has no runs in {where!r}")
    return Baseline(
        workload=_facts(table.get("workload"), f"{where}.workload"),
        environment=_facts(table.get("environment"), f"{where}.environment"),
        recorded=_string(table.get("recorded", ""), f"{where}.recorded"),
        runs=tuple(_run(run, f"{where}.runs[{index}]") for index, run in enumerate(runs)),
        selfcheck=_facts(table["selfcheck"], f"{where}.selfcheck") if "selfcheck" in table else None,
        curve=_facts(table["curve"], f"{where}.curve") if "curve" in table else None,
    )


def _run(entry: object, where: str) -> Run:
    table = _table(entry, where)
    try:
        scheduled, latency, status, failure = (_integers(table[key], key, _ITEMS[key]) for key in _ITEMS)
        seed, digest, payload_digest = table["seed"], table["digest"], table["payload_digest"]
        if type(seed) is not int or not 0 <= seed < _MAX_SEED:
            raise ValueError("its seed is not a whole number from 0 to 2**128")
        if not scheduled.size == latency.size == status.size == failure.size or not scheduled.size:
            raise ValueError("its lists are empty or differ in length")
        if (np.diff(scheduled) < 0).any():
            raise ValueError("scheduled_us decreases")
        if ((failure == Failure.NONE) & (latency < 0)).any():
            raise ValueError("a request succeeded that was never answered")
    except (KeyError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else error
        raise Unusable(f"has an unusable {where!r}: {what}") from error
    delay, timing, sizes = _details(table, scheduled.size, where)
    calibration = table.get("calibration_us", table.get("pace_us"))
    if calibration is not None and not (type(calibration) is int and 0 < calibration <= _MAX_US):
        raise Unusable(f"has an unusable {where!r}: calibration_us is not a whole number from 1 to {_MAX_US}")
    return Run(
        scheduled_ns=scheduled * 1000,
        issued_ns=np.where(failure == Failure.UNISSUED, -1, (scheduled + delay) * 1000),
        completed_ns=np.where(latency < 0, -1, (scheduled + latency) * 1000),
        status=status.astype(np.int16),
        failure=failure.astype(np.uint8),
        server_timing=timing,
        seed=seed,
        digest=_string(digest, f"{where}.digest"),
        payload_digest=_string(payload_digest, f"{where}.payload_digest"),
        sizes=sizes,
        calibration_ns=None if calibration is None else calibration * 1000,
    )


def _details(
    table: Mapping[str, Any], count: int, where: str
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]], NDArray[np.int64] | None]:
    """Return issue delays in microseconds, ``Server-Timing`` and sizes of a run: zeros and nothing if not recorded."""
    try:
        delay = _integers(table.get("issue_delay_us", [0] * count), "issue_delay_us", _TIMES)
        timings = _table(table.get("server_timing_us", {}), f"{where}.server_timing_us")
        if len(timings) > _MAX_TIMINGS:
            raise ValueError(f"more than {_MAX_TIMINGS} metrics of Server-Timing")
        found = {_string(n, where): _integers(v, f"server_timing_us.{_short(n)}", _TIMES) for n, v in timings.items()}
        sizes = _integers(table["size"], "size", _SIZES) if "size" in table else None
        if any(values.size != count for values in (delay, *found.values(), *([] if sizes is None else [sizes]))):
            raise ValueError("its lists differ in length")
    except ValueError as error:
        if isinstance(error, Unusable):
            raise
        raise Unusable(f"has an unusable {where!r}: {error}") from error
    return delay, {name: np.where(v < 0, np.nan, v / 1000).astype(np.float32) for name, v in found.items()}, sizes


def _integers(value: object, key: str, span: tuple[int, int]) -> NDArray[np.int64]:
    low, high = span
    if not isinstance(value, list) or not all(type(item) is int and low <= item <= high for item in value):
        raise ValueError(f"{key} is not a list of whole numbers from {low} to {high}")
    return np.array(value, dtype=np.int64)


def _entry(baseline: Baseline) -> dict[str, object]:
    return {
        "workload": dict(baseline.workload),
        "recorded": baseline.recorded,
        "environment": dict(baseline.environment),
        **({} if baseline.selfcheck is None else {"selfcheck": dict(baseline.selfcheck)}),
        **({} if baseline.curve is None else {"curve": dict(baseline.curve)}),
        "runs": [
            {
                "seed": run.seed,
                "digest": run.digest,
                "payload_digest": run.payload_digest,
                **({} if run.calibration_ns is None else {"calibration_us": max(1, round(run.calibration_ns / 1000))}),
                **({} if run.sizes is None else {"size": run.sizes.tolist()}),
                "scheduled_us": _microseconds(run.scheduled_ns - run.scheduled_ns[:1]),
                "latency_us": _microseconds(run.latency_ns),
                "status": run.status.tolist(),
                "failure": np.asarray(run.failure).tolist(),
                "issue_delay_us": _microseconds(run.issue_delay_ns),
                "server_timing_us": {name: _thousandths(values) for name, values in run.server_timing.items()},
            }
            for run in baseline.runs
        ],
    }


def _microseconds(values: NDArray[np.int64]) -> list[int]:
    rounded: list[int] = np.where(values < 0, -1, (values + 500) // 1000).tolist()
    return rounded


def _thousandths(values: NDArray[np.float32]) -> list[int]:
    """Return what a service reported; what no service can have meant (negative, infinite) counts as not reported."""
    scaled = values.astype(np.float64) * 1000
    told = (scaled >= 0) & (scaled <= _MAX_US)
    rounded: list[int] = np.where(told, np.rint(np.where(told, scaled, 0)), -1).astype(np.int64).tolist()
    return rounded


def _text(value: object, newline: str) -> Iterator[str]:
    """Yield JSON with the structure indented, but each list of numbers on a line of its own."""
    inner = newline + " "
    if isinstance(value, Mapping):
        items = (f"{json.dumps(str(key), ensure_ascii=False)}: {''.join(_text(v, inner))}" for key, v in value.items())
        yield _bracket("{}", list(items), newline)
    elif isinstance(value, Sequence) and not isinstance(value, str) and not all(type(v) is int for v in value):
        yield _bracket("[]", ["".join(_text(item, inner)) for item in value], newline)
    else:
        yield json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _bracket(pair: str, items: Sequence[str], newline: str) -> str:
    return f"{pair[0]}{newline} {f',{newline} '.join(items)}{newline}{pair[1]}" if items else pair
