"""What two runs in the same turns say about a change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_inferbench.judgement.comparison import compare
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.pairing import Sample
from pytest_inferbench.judgement.turn_changes import change_in_turns, in_turns
from pytest_inferbench.runs.run import Run, Turn

TURNS, EACH = 10, 30


def run(latencies: NDArray[np.float64], *, seed: int = 0, others: list[float] | None = None) -> Run:
    """A run of ten turns with these latencies in seconds; others took so much of the CPU time in each."""
    n = latencies.size
    due = np.arange(n) * 50_000_000
    taken = others or [0.0] * TURNS
    finite = np.where(np.isfinite(latencies), latencies, 0.0)
    return Run(
        scheduled_ns=due,
        issued_ns=due,
        completed_ns=due + (finite * 1e9).astype(np.int64),
        status=np.where(np.isfinite(latencies), 200, 503),
        seed=seed,
        digest=f"seed {seed}",
        turns=tuple(Turn(first=k * EACH, seconds=1.5, others=taken[k]) for k in range(TURNS)),
    )


def latencies(seed: int = 0) -> NDArray[np.float64]:
    return 0.02 * np.exp(0.2 * np.random.default_rng(seed).standard_normal(TURNS * EACH))


def change(before: Run, after: Run, metric: str) -> float:
    return math.exp(change_in_turns(Sample(before.latencies, before), Sample(after.latencies, after), metric))


@pytest.mark.parametrize("metric", ["p50", "p90", "p95", "p99", "mean"])
def test_a_slowdown_of_every_request_is_the_change(metric: str) -> None:
    """Ten per cent more in every request is ten per cent of every metric that turns hold enough for."""
    base = latencies()
    assert change(run(base), run(1.1 * base), metric) == pytest.approx(1.1, rel=1e-6)


@pytest.mark.parametrize("metric", ["p50", "p95", "mean"])
def test_a_burst_in_two_turns_of_one_side_moves_nothing(metric: str) -> None:
    """The whole runs differ by half as much again in two of ten turns; their quantiles move, the change does not."""
    base = latencies()
    burst = base.copy()
    burst[: 2 * EACH] *= 2.5
    assert change(run(base), run(burst), metric) == pytest.approx(1.0, abs=1e-6)


def test_turns_of_a_disturbed_machine_count_less() -> None:
    """Four in ten turns are twice as slow, where others took nearly all of the CPU: known, they count less."""
    base = latencies()
    slow = base.copy()
    slow[: 4 * EACH] *= 2
    others = [0.9] * 4 + [0.0] * 6
    unknown, known = change(run(base), run(slow), "p50"), change(run(base), run(slow, others=others), "p50")
    assert unknown > 1.2
    assert known < 1.05


def test_rare_slow_requests_are_not_trimmed_away_of_p99() -> None:
    """One request in fifty takes five times as long: p99 shows it."""
    base = latencies()
    tail = base.copy()
    tail[10::50] *= 5
    assert change(run(base), run(tail), "p99") > 2


def test_failures_in_many_turns_leave_no_change_of_turns() -> None:
    """Where half of the turns have no percentile, the turns say nothing finite: the whole runs are asked."""
    base = latencies()
    failing = base.copy()
    failing[: 6 * EACH : 4] = np.inf
    found = change_in_turns(Sample(base, run(base)), Sample(failing, run(failing)), "p95")
    assert not math.isfinite(found)


def test_error_rate_and_throughput_are_of_whole_runs() -> None:
    """A turn holds too little for either."""
    sample = Sample(latencies(), run(latencies()))
    assert math.isnan(change_in_turns(sample, sample, "error_rate"))
    assert math.isnan(change_in_turns(sample, sample, "throughput"))


def test_other_turns_are_no_turns_of_a_pair() -> None:
    """Runs without turns, and arrays, are compared as whole runs."""
    whole = Run(
        scheduled_ns=np.arange(20), issued_ns=np.arange(20), completed_ns=np.arange(20) + 9, status=np.full(20, 200)
    )
    turned = Sample(latencies(), run(latencies()))
    assert in_turns(turned, turned)
    assert not in_turns(turned, Sample(whole.latencies, whole))
    assert not in_turns(turned, Sample(latencies()))


def test_the_comparison_of_five_pairs_finds_five_per_cent_through_bursts() -> None:
    """Bursts in two turns of each run, at other places on either side: whole runs leave it open, turns do not."""
    rng = np.random.default_rng(5)
    sides: list[list[Run]] = [[], []]
    for seed in range(5):
        base = latencies(seed)
        for side, factor in zip(sides, (1.0, 1.1), strict=True):
            values = factor * base * math.exp(0.005 * rng.standard_normal())
            for turn in rng.choice(TURNS, size=2, replace=False):
                values[turn * EACH : (turn + 1) * EACH] *= rng.uniform(1.5, 3)
            side.append(run(values, seed=seed))
    assert compare(*sides, metric="p50").outcome is Outcome.REGRESSED
    assert compare(*sides, metric="p95").outcome is Outcome.REGRESSED
    whole = [[each.latencies for each in side] for side in sides]
    assert compare(*whole, metric="p95").outcome is Outcome.INCONCLUSIVE


def test_requests_are_compared_one_by_one() -> None:
    """Payloads differ a hundredfold. One request in five is 20 % slower: p50 is as it was; four in five: it is not."""
    base = latencies() * np.random.default_rng(3).choice([1.0, 10.0, 100.0], TURNS * EACH)
    few, most = base.copy(), base.copy()
    few[::5] *= 1.2
    most[np.arange(most.size) % 5 > 0] *= 1.2
    assert change(run(base), run(few), "p50") == pytest.approx(1.0, abs=1e-9)
    assert change(run(base), run(most), "p50") > 1.15


def test_p95_is_about_the_slowest_requests_of_both_sides() -> None:
    """Only the slowest tenth of each turn is 50 % slower: p95 shows most of it, p50 nothing."""
    base = latencies()
    slow = base.copy()
    for turn in range(TURNS):
        part = slice(turn * EACH, (turn + 1) * EACH)
        slow[part] = np.where(base[part] >= np.quantile(base[part], 0.9), 1.5 * base[part], base[part])
    assert change(run(base), run(slow), "p95") > 1.25
    assert change(run(base), run(slow), "p50") == pytest.approx(1.0, abs=1e-9)


def test_noise_on_one_side_alone_is_no_change_of_p95() -> None:
    """The choice of the slowest requests favours neither side: independent noise on both averages out."""
    rng = np.random.default_rng(9)
    found = []
    for seed in range(60):
        before, after = (latencies(seed) * np.exp(0.3 * rng.standard_normal(TURNS * EACH)) for _ in range(2))
        found.append(math.log(change(run(before), run(after), "p95")))
    assert abs(float(np.mean(found))) < 4 * float(np.std(found)) / math.sqrt(len(found))


def test_a_request_that_failed_on_both_sides_says_nothing() -> None:
    """It has no change of its own; one that failed on one side alone is as slow as can be, and may be trimmed."""
    base = latencies()
    both, one = base.copy(), base.copy()
    both[3] = one[5] = np.inf
    first = both.copy()
    second = both.copy()
    second[5] = np.inf
    assert change(run(first), run(second), "p50") == pytest.approx(1.0, abs=1e-9)
