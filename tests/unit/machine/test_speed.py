"""The machine's speed: a fixed computation and how long it takes."""

from __future__ import annotations

from itertools import chain, repeat

import pytest

from pytest_inferbench.machine import speed
from pytest_inferbench.machine.speed import run_reference_computation


def test_it_is_a_time() -> None:
    """Whatever the machine, the computation takes some time, in nanoseconds."""
    assert run_reference_computation() > 0


def test_a_single_interruption_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine products take 10 ns each by the clock, the first two and one more take 1000: the median is 10."""
    lengths = [1000, 1000, 10, 10, 1000, 10, 10, 10, 10]
    instants = chain.from_iterable((0, length) for length in lengths)
    monkeypatch.setattr(speed.time, "perf_counter_ns", chain(instants, repeat(0)).__next__)
    assert run_reference_computation() == 10
