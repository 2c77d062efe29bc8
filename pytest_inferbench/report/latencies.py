"""The requests of a run as plain JSON values: what plots are drawn from, and what the JSON result holds if asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the process that reports needs no numpy
    from pytest_inferbench.runs.run import Run

__all__ = ["Record", "raw_run", "without_raw"]

Record = dict[str, Any]


def raw_run(run: Run) -> Record:
    """Return a run request by request, in arrival order, in integer microseconds.

    ``due_us``: when each was due, since the first one was; ``latency_us``: from then until its answer or failure,
    null where neither came; ``failed``: the positions of those that failed, by cause.
    """
    from pytest_inferbench.runs.run import Failure

    due = (run.scheduled_ns - run.scheduled_ns[:1]) // 1000
    kinds = [Failure(kind) for kind in ([] if run.failure is None else run.failure.tolist())]
    failed: dict[str, list[int]] = {}
    for position, kind in enumerate(kinds):
        if kind is not Failure.NONE:
            failed.setdefault(kind.name.lower(), []).append(position)
    return {
        "due_us": due.tolist(),
        "latency_us": [None if ns < 0 else round(ns / 1000) for ns in run.latency_ns.tolist()],
        "failed": failed,
    }


def without_raw(records: Sequence[Record]) -> list[Record]:
    """Return the records without the requests of their runs."""
    return [
        {
            **record,
            "runs": _bare(record),
            "reference": None
            if record["reference"] is None
            else {**record["reference"], "runs": _bare(record["reference"])},
        }
        for record in records
    ]


def _bare(system: Record) -> list[Record]:
    return [{key: value for key, value in run.items() if key != "raw"} for run in system["runs"]]
