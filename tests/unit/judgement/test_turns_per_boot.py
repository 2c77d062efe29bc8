"""How many turns are worth a boot."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_inferbench.judgement.turns_per_boot import LONGEST, times_as_long
from pytest_inferbench.runs.run import Run, Turn

TURNS, EACH = 10, 20


def pairs(*, boots: float, turns: float, count: int = 5, seed: int = 1) -> list[tuple[Run, Run]]:
    """Pairs of runs whose changes vary so much between boots and between turns (log standard deviations)."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        base = 0.02 * np.exp(0.2 * rng.standard_normal(TURNS * EACH))
        moved = base * math.exp(boots * rng.standard_normal())
        moved *= np.repeat(np.exp(turns * rng.standard_normal(TURNS)), EACH)
        found.append((run(base), run(moved)))
    return found


def run(latencies: np.ndarray) -> Run:
    due = np.arange(latencies.size) * 50_000_000
    return Run(
        scheduled_ns=due,
        issued_ns=due,
        completed_ns=due + (latencies * 1e9).astype(np.int64),
        status=np.full(latencies.size, 200),
        turns=tuple(Turn(first=k * EACH) for k in range(TURNS)),
    )


def test_a_slow_boot_is_worth_longer_runs_and_a_quick_one_is_not() -> None:
    """With the same noise, a boot of two minutes gets the most turns and one of four seconds those of the workload."""
    measured = pairs(boots=0.005, turns=0.2)
    times = [times_as_long(measured, ("p50",), boot_seconds=boot, load_seconds=33) for boot in (4, 20, 60, 240)]
    assert times == sorted(times)
    assert times[0] == 1
    assert times[-1] == LONGEST


def test_where_boots_differ_more_than_turns_more_boots_are_the_better_buy() -> None:
    """No length of a run averages out what a boot brings with it."""
    measured = pairs(boots=0.2, turns=0.02)
    assert times_as_long(measured, ("p50", "p95"), boot_seconds=60, load_seconds=33) == 1


@pytest.mark.parametrize("metrics", [("error_rate",), ("throughput",)])
def test_where_turns_do_not_say_runs_are_as_the_workload_says(metrics: tuple[str, ...]) -> None:
    """Metrics of whole runs, two pairs only, and runs without turns ask for nothing."""
    measured = pairs(boots=0.005, turns=0.2)
    assert times_as_long(measured, metrics, boot_seconds=240, load_seconds=33) == 1
    assert times_as_long(measured[:2], ("p50",), boot_seconds=240, load_seconds=33) == 1
    whole = Run(
        scheduled_ns=np.arange(50), issued_ns=np.arange(50), completed_ns=np.arange(50) + 9, status=np.full(50, 200)
    )
    assert times_as_long([(whole, whole)] * 3, ("p50",), boot_seconds=240, load_seconds=33) == 1
