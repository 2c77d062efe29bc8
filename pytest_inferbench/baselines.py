"""Stored baselines: one small text file per test, profile and machine, written only when asked to."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from pytest_inferbench.errors import BaselineError
from pytest_inferbench.run import Failure, Run

__all__ = ["FORMAT_VERSION", "Baseline", "BaselineStore"]

FORMAT_VERSION = 1
_FORMAT = "pytest-inferbench-baseline"
_MAX_BYTES = 64 * 2**20
_MAX_US = 2**53


@dataclass(frozen=True, slots=True)
class Baseline:
    """What one workload of one test measured: the runs, each from its own boot, and where."""

    workload: Mapping[str, object]
    environment: Mapping[str, object]
    recorded: str
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class BaselineStore:
    """The folder of baselines: ``<root>/<profile>/<machine>/<test>.json``, one entry per workload in each file."""

    root: Path

    def path(self, *, profile: str, machine: str, test: str) -> Path:
        """Return where the baseline of a test lies. Names are reduced to a safe alphabet: none leaves the folder."""
        return self.root / _safe(profile) / _safe(machine) / f"{_safe(test)}.json"

    def machines(self, *, profile: str, test: str) -> tuple[str, ...]:
        """Return the machines that have a baseline of this test under this profile."""
        return tuple(sorted(path.parent.name for path in (self.root / _safe(profile)).glob(f"*/{_safe(test)}.json")))

    def load(self, *, profile: str, machine: str, test: str) -> dict[str, Baseline]:
        """Return the stored baselines of a test by workload name; empty if there are none.

        Raises BaselineError for a file that is truncated, of a future version, or not ours.
        """
        path = self.path(profile=profile, machine=machine, test=test)
        document = _read(path)
        if document is None:
            return {}
        workloads = _expect(document.get("workloads"), dict, path, "workloads")
        return {str(name): _baseline(entry, path, f"workloads.{name}") for name, entry in workloads.items()}

    def update(self, baseline: Baseline, *, profile: str, machine: str, test: str) -> Path:
        """Write one workload's baseline, leaving the file's other entries; the old or the new file, never half."""
        path = self.path(profile=profile, machine=machine, test=test)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _lock(path):
                try:
                    document = _read(path) or {}
                except BaselineError:
                    document = {}  # --update-baselines is also the way out of a damaged file
                stored = document.get("workloads")
                workloads = {**stored} if isinstance(stored, dict) else {}
                workloads[str(baseline.workload["name"])] = _entry(baseline)
                text = _dump({"format": _FORMAT, "version": FORMAT_VERSION, "test": test, "workloads": workloads})
                _write_atomically(path, text)
        except OSError as error:
            raise BaselineError(
                f"cannot write the baseline {path}: {error.strerror or error}; the measurement itself is complete "
                "(see --inferbench-json), make the folder writable or choose another with --inferbench-storage"
            ) from error
        return path


def _lock(path: Path) -> FileLock:
    # Beside the temporary files, not beside the baseline: a lock file has no place under version control.
    digest = hashlib.blake2b(str(path.resolve()).encode(), digest_size=8).hexdigest()
    return FileLock(Path(tempfile.gettempdir()) / f"pytest-inferbench-{digest}.lock", mode=0o666)


def _safe(name: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9._\[\]=+-]+", "--", name).strip(".-")
    return cleaned[:150] or "unnamed"


def _read(path: Path) -> dict[str, object] | None:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _broken(path, f"is larger than {_MAX_BYTES >> 20} MiB")
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _broken(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"is not whole JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise _broken(path, f'is not a baseline of this plugin (no "format": "{_FORMAT}")')
    version = document.get("version")
    if version != FORMAT_VERSION:
        advice = (
            "upgrade pytest-inferbench" if isinstance(version, int) and version > FORMAT_VERSION else "record it again"
        )
        raise BaselineError(
            f"baseline {path} has format version {version!r}, this is version {FORMAT_VERSION}: {advice}"
        )
    return document


def _broken(path: Path, what: str) -> BaselineError:
    return BaselineError(
        f"baseline {path} {what}; restore it from version control, or record it again with --update-baselines"
    )


def _expect(value: object, kind: type, path: Path, where: str) -> dict[str, object]:
    if not isinstance(value, kind):
        raise _broken(path, f"has no usable {where!r}")
    return value  # type: ignore[return-value]


def _baseline(entry: object, path: Path, where: str) -> Baseline:
    table = _expect(entry, dict, path, where)
    runs = table.get("runs")
    if not isinstance(runs, list) or not runs:
        raise _broken(path, f"has no runs in {where!r}")
    return Baseline(
        workload=_expect(table.get("workload"), dict, path, f"{where}.workload"),
        environment=_expect(table.get("environment"), dict, path, f"{where}.environment"),
        recorded=str(table.get("recorded", "")),
        runs=tuple(_run(run, path, f"{where}.runs[{index}]") for index, run in enumerate(runs)),
    )


def _run(entry: object, path: Path, where: str) -> Run:
    table = _expect(entry, dict, path, where)
    try:
        scheduled, latency, status, failure = (
            _integers(table[key], key) for key in ("scheduled_us", "latency_us", "status", "failure")
        )
        seed, digest, payload_digest = table["seed"], table["digest"], table["payload_digest"]
        if type(seed) is not int or not isinstance(digest, str) or not isinstance(payload_digest, str):
            raise ValueError("seed and digests have the wrong type")
        if not scheduled.size == latency.size == status.size == failure.size or not scheduled.size:
            raise ValueError("its lists are empty or differ in length")
        if failure.max() > max(Failure) or status.max() > 999:
            raise ValueError("it holds an unknown status or failure")
        completed = np.where(latency < 0, -1, scheduled + latency)
        return Run(
            scheduled_ns=scheduled * 1000,
            issued_ns=np.where(failure == Failure.UNISSUED, -1, scheduled * 1000),
            completed_ns=np.where(completed < 0, -1, completed * 1000),
            status=status.astype(np.int16),
            failure=failure.astype(np.uint8),
            seed=seed,
            digest=digest,
            payload_digest=payload_digest,
        )
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise _broken(path, f"has an unusable {where!r}: {error}") from error


def _integers(value: object, key: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if not isinstance(value, list) or not all(type(item) is int and -1 <= item < _MAX_US for item in value):
        raise ValueError(f"{key} is not a list of whole numbers from -1 up")
    return np.array(value, dtype=np.int64)


def _entry(baseline: Baseline) -> dict[str, object]:
    return {
        "workload": dict(baseline.workload),
        "recorded": baseline.recorded,
        "environment": dict(baseline.environment),
        "runs": [
            {
                "seed": run.seed,
                "digest": run.digest,
                "payload_digest": run.payload_digest,
                "scheduled_us": _microseconds(run.scheduled_ns - run.scheduled_ns[:1]),
                "latency_us": _microseconds(run.latency_ns),
                "status": run.status.tolist(),
                "failure": np.asarray(run.failure).tolist(),
            }
            for run in baseline.runs
        ],
    }


def _microseconds(values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[int]:
    rounded: list[int] = np.where(values < 0, -1, (values + 500) // 1000).tolist()
    return rounded


def _dump(document: Mapping[str, object]) -> str:
    """Indent the structure but keep each list of numbers on a line of its own, for diffs that can be read."""
    lists: list[str] = []

    def shorten(value: object) -> object:
        if isinstance(value, Mapping):
            return {key: shorten(item) for key, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, str):
            if value and all(isinstance(item, int) for item in value):
                lists.append(json.dumps(value, separators=(",", ":")))
                return f"@@{len(lists) - 1}@@"
            return [shorten(item) for item in value]
        return value

    text = json.dumps(shorten(document), indent=1, ensure_ascii=False, sort_keys=False)
    return re.sub(r'"@@(\d+)@@"', lambda match: lists[int(match[1])], text) + "\n"


def _write_atomically(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
