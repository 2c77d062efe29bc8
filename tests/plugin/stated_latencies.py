"""Latencies as the service states them, instead of what this machine made of its answers.

A busy machine can hide any difference between two services, so no outcome may depend on measured latencies. A service
whose answers carry the Server-Timing metric ``answer`` (milliseconds) is booted and loaded like any other; the run then
says that each answer took as long as it states, give or take 2 % that are drawn from the run's seed, and that each
request left 0.1 ms late. With the metric ``serial`` besides, one answer was made at a time, so that requests queue.
Requests whose answers say nothing of the kind stay as they were measured, and the two metrics are no part of the run.

It imports nothing of this repository's tests: sessions in other processes find a copy in their folder.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_inferbench.loadgen import generator
from pytest_inferbench.runs.run import Run

DELAY_NS = 100_000


def state_latencies(config: pytest.Config) -> None:
    """Let the runs of this session have the latencies that the service states."""
    patch = pytest.MonkeyPatch()
    numbers = itertools.count()

    def make(**facts: Any) -> Run:
        return _stated(next(numbers), **facts)

    patch.setattr(generator, "Run", make)
    config.add_cleanup(patch.undo)


def _stated(number: int, **facts: Any) -> Run:
    """Return run ``number`` of a session: the draws of two runs differ, and are the same in every such session."""
    timing = dict(facts["server_timing"])
    answer, serial = timing.pop("answer", None), timing.pop("serial", None)
    facts["server_timing"] = timing
    if answer is None:
        return Run(**facts)
    stated = np.isfinite(answer) & (facts["completed_ns"] >= 0)
    draws = np.random.default_rng([facts["seed"], number]).uniform(0.98, 1.02, answer.size)
    took_ns = np.where(stated, np.nan_to_num(answer) * 1e6 * draws, 0).astype(np.int64)
    issued_ns = np.where(stated, facts["scheduled_ns"] + DELAY_NS, facts["issued_ns"])
    completed_ns = issued_ns + took_ns if serial is None else _one_at_a_time(issued_ns, took_ns)
    facts["issued_ns"] = issued_ns
    facts["completed_ns"] = np.where(stated, completed_ns, facts["completed_ns"])
    return Run(**facts)


def _one_at_a_time(issued_ns: NDArray[np.int64], took_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    completed_ns = np.empty_like(issued_ns)
    free_ns = 0
    for i in np.argsort(issued_ns, kind="stable"):
        free_ns = max(int(issued_ns[i]), free_ns) + int(took_ns[i])
        completed_ns[i] = free_ns
    return completed_ns
