"""The cost curve: known curves are found again, and a steeper one or a step is told from noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_inferbench.costs import compare_costs, cost_curve
from pytest_inferbench.errors import ValidationError
from pytest_inferbench.outcome import Outcome
from pytest_inferbench.run import Run
from tests.unit.examples import run

EDGES = (1, 32, 64, 128, 256, 513)
Curve = Callable[[NDArray[np.int64]], NDArray[np.float64]]


def sides(curve: Curve, *, count: int = 5, n: int = 400, seed: int = 0) -> tuple[list[Run], list[NDArray[np.int64]]]:
    """Runs whose requests take what ``curve`` says of their sizes, with 3 % of noise and 0.5 % between boots."""
    runs, sizes = [], []
    for number in range(count):
        size = np.random.default_rng(number).integers(1, 513, n)
        rng = np.random.default_rng(1000 * seed + number)
        seconds = curve(size) * rng.lognormal(0, 0.03, n) * rng.lognormal(0, 0.005)
        due = np.arange(n, dtype=np.int64) * 10**9
        runs.append(run(seed=number, n=n, completed_ns=due + (seconds * 1e9).astype(np.int64), scheduled_ns=due))
        sizes.append(size)
    return runs, sizes


def linear(size: NDArray[np.int64]) -> NDArray[np.float64]:
    return 0.01 + 0.0002 * size


def test_a_line_is_found_again() -> None:
    """10 ms and 0.2 ms per token: the slope's interval holds it, and each class's median lies on the line."""
    curve = cost_curve(*sides(linear), edges=EDGES)
    assert curve.slope == pytest.approx(0.0002, rel=0.03)
    assert curve.slope_interval[0] < 0.0002 < curve.slope_interval[1]
    assert [(point.low, point.high) for point in curve.points][:2] == [(1, 31), (32, 63)]
    for point in curve.points:
        assert point.latency == pytest.approx(0.01 + 0.0002 * point.size, rel=0.05)
    assert sum(point.n for point in curve.points) == 5 * 400
    assert "per unit" in repr(curve)


def test_equal_sides_pass() -> None:
    """Neither a class nor the slope of an unchanged service regresses."""
    (before, sizes), (after, _) = sides(linear), sides(linear, seed=1)
    outcomes = {check.outcome for check in compare_costs(before, after, sizes, edges=EDGES, margin=0.1).values()}
    assert Outcome.REGRESSED not in outcomes


def test_a_steeper_curve_shows_in_the_slope() -> None:
    """40 % more per token is a regression of the slope and of the long texts."""
    (before, sizes), (after, _) = sides(linear), sides(lambda size: 0.01 + 0.00028 * size, seed=1)
    found = compare_costs(before, after, sizes, edges=EDGES, margin=0.1)
    assert found["slope"].outcome is Outcome.REGRESSED
    assert found["256-512"].outcome is Outcome.REGRESSED


def test_a_step_shows_in_its_class_alone() -> None:
    """Texts of 64 to 127 tokens, 30 % slower: their class regresses and no other one does."""
    (before, sizes), (after, _) = sides(linear), sides(
        lambda size: linear(size) * np.where((size >= 64) & (size < 128), 1.3, 1.0), seed=1
    )  # fmt: skip
    found = compare_costs(before, after, sizes, edges=EDGES, margin=0.1)
    assert [name for name, check in found.items() if check.outcome is Outcome.REGRESSED] == ["64-127"]


def test_what_makes_no_curve_is_refused() -> None:
    """One class, edges that do not ascend, or sizes of another run: an error that says so."""
    runs, sizes = sides(linear, count=2)
    for given, said in [
        ((runs, sizes, (1, 513)), "edges must ascend"),
        ((runs, sizes, (1, 64, 32)), "edges must ascend"),
        ((runs, sizes[:1], EDGES), "the sizes of each run"),
        ((runs, [size[:-1] for size in sizes], EDGES), "sizes of shape"),
        ((runs, sizes, (600, 700, 800)), "at least two classes"),
    ]:
        with pytest.raises(ValidationError, match=said):
            cost_curve(given[0], given[1], edges=given[2])
