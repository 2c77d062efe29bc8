"""The machine's speed: a fixed computation and how long it takes."""

from __future__ import annotations

from itertools import chain, repeat

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_inferbench.machine import speed
from pytest_inferbench.machine.speed import run_reference_computation


def test_it_is_the_same_computation_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored baselines carry this time: after another computation each would look as if the machine had changed."""
    products: list[tuple[object, ...]] = []
    matmul = np.matmul

    def noted(left: NDArray[np.float32], right: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        products.append((left.shape, right.shape, left.dtype.name, right.dtype.name, out.dtype.name))
        matmul(left[:4], right, out=out[:4])

    monkeypatch.setattr(speed.np, "matmul", noted)
    run_reference_computation()
    assert products == [((1024, 1024), (1024, 1024), "float32", "float32", "float32")] * 9


def test_a_single_interruption_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine products take 10 ns each by the clock, the first two and one more take 1000: the median is 10."""
    lengths = [1000, 1000, 10, 10, 1000, 10, 10, 10, 10]
    instants = chain.from_iterable((0, length) for length in lengths)
    monkeypatch.setattr(speed.time, "perf_counter_ns", chain(instants, repeat(0)).__next__)
    assert run_reference_computation() == 10
