"""The facts of a run and what is derived from them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.runs.run import Failure, Run

MS = 1_000_000


def a_run(**changes: object) -> Run:
    """Four requests: good, a 503, unfinished, never issued."""
    facts: dict[str, object] = {
        "scheduled_ns": np.array([0, 10, 20, 30]) * MS,
        "issued_ns": np.array([1 * MS, 10 * MS, 25 * MS, -1]),
        "completed_ns": np.array([11 * MS, 12 * MS, -1, -1]),
        "status": np.array([200, 503, 0, 0]),
    }
    return Run(**{**facts, **changes})


def test_latency_counts_from_scheduled():
    """Latency is completed minus scheduled, delay issued minus scheduled, service time the rest; -1 where unknown."""
    run = a_run()
    assert (run.latency_ns / MS).tolist()[:2] == [11, 2]
    assert run.latency_ns.tolist()[2:] == [-1, -1]
    assert (run.issue_delay_ns[:3] / MS).tolist() == [1, 0, 5]
    assert run.issue_delay_ns[3] == -1
    assert (run.service_time_ns[:2] / MS).tolist() == [10, 2]
    assert run.service_time_ns.tolist()[2:] == [-1, -1]


def test_failures_are_derived_where_they_are_not_given():
    """Without failure codes, they follow from status, issue and completion."""
    run = a_run(
        completed_ns=np.array([11, 12, -1, -1]) * MS,
        issued_ns=np.array([1, 10, 25, -1]),
    )
    assert [Failure(f).name for f in run.failure] == ["NONE", "STATUS", "UNFINISHED", "UNISSUED"]
    refused = Run(np.array([0]), np.array([1]), np.array([2]), np.array([0]))
    assert refused.count(Failure.OTHER) == 1


def test_failed_requests_rank_last():
    """Every failed request has an infinite latency, however quickly it failed."""
    assert a_run().latencies.tolist() == [0.011, np.inf, np.inf, np.inf]


def test_given_failures_are_kept():
    """A failure that only the generator can know overrides what the status suggests."""
    run = a_run(failure=np.array([Failure.CHECK, Failure.STATUS, Failure.UNFINISHED, Failure.UNISSUED]))
    assert run.failed.all()
    assert run.count(Failure.CHECK) == 1
    assert run.throughput == 0


def test_rates():
    """The error rate counts all scheduled requests; throughput counts good answers since the first was due."""
    run = a_run()
    assert run.error_rate == 0.75
    assert run.throughput == pytest.approx(1 / 0.011)
    empty = Run(*(np.empty(0, np.int64) for _ in range(4)))
    assert np.isnan(empty.error_rate)
    assert empty.throughput == 0


@pytest.mark.parametrize("name", ["issued_ns", "completed_ns", "status", "failure"])
def test_arrays_of_different_lengths_are_refused(name):
    """A fact for each request, or the message names the array that has none."""
    with pytest.raises(ValidationError, match=name):
        a_run(**{name: np.zeros(3, int)})
    with pytest.raises(ValidationError, match="queue"):
        a_run(server_timing={"queue": np.zeros(3)})


def test_a_run_is_frozen():
    """Neither the fields nor the arrays can be changed, and the caller's arrays stay the caller's."""
    issued = np.array([1 * MS, 10 * MS, 25 * MS, -1])
    run = a_run(issued_ns=issued, server_timing={"queue": np.zeros(4)})
    issued[0] = 0
    assert run.issued_ns[0] == MS
    for values in (run.issued_ns, run.failure, run.server_timing["queue"]):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.seed = 3


def test_runs_are_equal_if_their_facts_are():
    """Equality compares every array, NaN included, and every label."""
    timing = {"queue": np.array([1, np.nan, np.nan, np.nan])}
    assert a_run(server_timing=timing) == a_run(server_timing=timing)
    for change in ({"seed": 1}, {"digest": "x"}, {"closed_loop": True}, {"status": np.array([200, 500, 0, 0])}):
        assert a_run(**change) != a_run()
    assert a_run() != "a run"
