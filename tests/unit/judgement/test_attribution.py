"""Where the time goes: the parts of the mean latency, and the one that moved."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_inferbench.judgement.attribution import CLIENT, NETWORK, attribute, breakdown, explain
from pytest_inferbench.runs.run import Run

N = 300


def run(seed: int = 0, *, timing: bool = True, delay: float = 0.0002, rest: float = 0.003, **parts: float) -> Run:
    """Return a run whose parts, in seconds, are as given on average, with noise of 2 % between runs."""
    rng = np.random.default_rng(seed)
    means = {"queue": 0.002, "tokenize": 0.0005, "infer": 0.02, **parts}
    boot = float(np.exp(rng.normal(0, 0.002)))
    spent = {name: mean * boot * rng.uniform(0.9, 1.1, N) for name, mean in means.items()}
    due = np.arange(N) * 25_000_000
    issued = due + (delay * 1e9 * rng.uniform(0.9, 1.1, N)).astype(np.int64)
    total = sum(spent.values()) + rest * rng.uniform(0.9, 1.1, N)
    return Run(
        scheduled_ns=due,
        issued_ns=issued,
        completed_ns=issued + (total * 1e9).astype(np.int64),
        status=np.full(N, 200),
        server_timing={**{k: v * 1e3 for k, v in spent.items()}, "batch": np.ones(N)} if timing else {},
        digest=str(seed),
    )


def side(start: int = 0, **parts: float) -> list[Run]:
    return [run(start + k, **parts) for k in range(5)]


def pairs(**parts: float) -> tuple[list[Run], list[Run]]:
    """Return both sides under the same schedules, from different boots."""
    other = [run(100 + k, **parts) for k in range(5)]
    return side(), [Run(**{**{f: getattr(r, f) for f in FIELDS}, "digest": str(k)}) for k, r in enumerate(other)]


FIELDS = ("scheduled_ns", "issued_ns", "completed_ns", "status", "server_timing")


def test_the_parts_add_up_to_the_mean_latency() -> None:
    """Client delay, what the service reports, and the rest: nothing is lost, and the batch size is no duration."""
    one = run()
    parts = breakdown(one)
    assert list(parts) == [CLIENT, "queue", "tokenize", "infer", NETWORK]
    assert math.fsum(parts.values()) == pytest.approx(float(one.latencies.mean()), rel=1e-6)
    assert parts["infer"] == pytest.approx(0.02, rel=0.02)
    assert parts[NETWORK] == pytest.approx(0.003, rel=0.05)


def test_a_run_without_a_good_answer_has_no_parts() -> None:
    """Failed requests say nothing about where the time of an answer goes."""
    assert breakdown(Run(np.zeros(3), np.zeros(3), np.ones(3), np.full(3, 500))) == {}


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"infer": 0.022}, "infer"),
        ({"tokenize": 0.0015}, "tokenize"),
        ({"queue": 0.006}, "queue"),
        ({"rest": 0.005}, NETWORK),
        ({"delay": 0.002}, CLIENT),
    ],
)
def test_the_part_that_got_slower_is_named(changed: dict[str, float], name: str) -> None:
    """A slowdown injected into each part in turn is found there, with its size inside the interval."""
    shifts = {shift.component: shift for shift in attribute(*pairs(**changed))}
    moved = shifts[name]
    before = {"infer": 0.02, "tokenize": 0.0005, "queue": 0.002, "rest": 0.003, "delay": 0.0002}
    ((key, value),) = changed.items()
    assert moved.change == pytest.approx(value - before[key], rel=0.1)
    assert moved.interval[0] > 0
    assert explain(tuple(shifts.values())).startswith(f"where the time went: {name} +")


def test_a_queue_is_not_blamed_for_what_it_waits_for() -> None:
    """Inference 10 % slower makes the queue grow by more than that: inference is named first, the queue after it."""
    text = explain(attribute(*pairs(infer=0.022, queue=0.008)))
    assert text.startswith("where the time went: infer +")
    assert "; also queue +" in text


def test_nothing_is_named_where_nothing_moved_or_nothing_is_known() -> None:
    """The same service, a side without Server-Timing, other schedules, and no runs at all."""
    assert explain(attribute(*pairs())) == ""
    assert attribute(side(), side(timing=False)) == ()
    assert attribute(side(), side(start=50)) == ()
    assert explain(()) == ""
