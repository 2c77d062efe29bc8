"""The cost curve: known curves are found again, and a steeper one or a step is told from noise, and named."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.cost_curve import compare_costs, cost_curve
from pytest_inferbench.judgement.measurement import Measurement, Reference
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.runs.run import Failure, Run
from tests.unit.examples import INVALID, measurement, run

EDGES = (1, 32, 64, 128, 256, 513)
Curve = Callable[[NDArray[np.int64]], NDArray[np.float64]]


def side(curve: Curve, *, count: int = 5, n: int = 400, seed: int = 0, boots: float = 0.005) -> list[Run]:
    """Runs whose requests take what ``curve`` says of their sizes, with 3 % of noise and ``boots`` between boots."""
    runs = []
    for number in range(count):
        sizes = np.exp(np.random.default_rng(number).uniform(0, np.log(513), n)).astype(np.int64)
        rng = np.random.default_rng((seed, number))
        seconds = curve(sizes) * rng.lognormal(0, 0.03, n) * rng.lognormal(0, boots)
        due = np.arange(n, dtype=np.int64) * 10**9
        done = due + (seconds * 1e9).astype(np.int64)
        runs.append(run(seed=number, n=n, completed_ns=done, issued_ns=due, scheduled_ns=due, sizes=sizes))
    return runs


def sizes_of(one: Run) -> NDArray[np.int64]:
    assert one.sizes is not None
    return one.sizes


def pairs(edges: Sequence[int]) -> list[tuple[int, int]]:
    return list(itertools.pairwise(edges))


def linear(size: NDArray[np.int64]) -> NDArray[np.float64]:
    return 0.01 + 0.0002 * size


def steeper(size: NDArray[np.int64]) -> NDArray[np.float64]:
    return 0.01 + 0.00028 * size


def stepped(size: NDArray[np.int64]) -> NDArray[np.float64]:
    return linear(size) + 0.02 * (size >= 64)


def bumped(size: NDArray[np.int64]) -> NDArray[np.float64]:
    return linear(size) * np.where((size >= 64) & (size < 128), 1.3, 1.0)


def flat(size: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.full(size.shape, 0.02)


def test_a_line_is_found_again() -> None:
    """10 ms and 0.2 ms per token: the slope's interval holds it, and each class's median lies on the line."""
    curve = cost_curve(side(linear), edges=EDGES)
    assert curve.slope == pytest.approx(0.0002, rel=0.03)
    assert curve.slope_interval[0] < 0.0002 < curve.slope_interval[1]
    assert [(point.low, point.high) for point in curve.points][:2] == [(1, 31), (32, 63)]
    for point in curve.points:
        assert point.latency == pytest.approx(0.01 + 0.0002 * point.size, rel=0.05)
    assert sum(point.n for point in curve.points) == 5 * 400
    assert "per token (" in repr(curve)


def test_the_interval_of_the_slope_covers_as_often_as_it_says() -> None:
    """Of 400 fits of three or five runs each, whose true slope is known, the 90 % interval holds it in at least 87 %:
    four standard deviations below nine of ten would be 84 %. The mean of all fits is the truth to half a per cent."""
    fits = [cost_curve(side(linear, count=3 + 2 * (seed % 2), n=120, seed=seed), alpha=0.05) for seed in range(400)]
    covered = sum(fit.slope_interval[0] <= 0.0002 <= fit.slope_interval[1] for fit in fits)
    assert covered >= 0.87 * len(fits)
    assert np.mean([fit.slope for fit in fits]) == pytest.approx(0.0002, rel=0.005)


def test_classes_that_nobody_named_hold_twelve_requests_of_each_run() -> None:
    """Edges are powers of two, the classes join, all sizes are in one, and none is too small to have a median."""
    for n in (60, 120, 1000):
        runs = side(linear, n=n)
        points = cost_curve(runs).points
        assert sum(point.n for point in points) == 5 * n
        assert all(after.low == before.high + 1 for before, after in itertools.pairwise(points))
        for one, point in itertools.product(runs, points):
            assert ((sizes_of(one) >= point.low) & (sizes_of(one) <= point.high)).sum() >= 12
    assert {point.low for point in points} == {1, 2, 4, 8, 16, 32, 64, 128, 256}


def test_an_unchanged_service_raises_no_alarm() -> None:
    """Of 180 comparisons of a service with itself at a margin of next to nothing, at most alpha are false alarms."""
    alarms = 0
    for curve, seed in itertools.product((linear, stepped, flat), range(60)):
        before, after = side(curve, n=120, seed=2 * seed), side(curve, n=120, seed=2 * seed + 1)
        checks = compare_costs(before, after, margin=0.001).checks
        alarms += any(check.outcome is Outcome.REGRESSED for check in checks)
    assert alarms <= 0.05 * 180


def test_an_unchanged_service_passes() -> None:
    """With enough requests to tell, every check of equal sides is PASS, and there is nothing to explain."""
    for curve in (linear, stepped, flat):
        change = compare_costs(side(curve), side(curve, seed=1), margin=0.1)
        assert {check.outcome for check in change.checks} == {Outcome.PASS}, change
        assert change.explanation == ""


def test_a_steeper_curve_shows_in_the_slope() -> None:
    """40 % more per token: the slope regresses and is what is named, with both figures and the interval."""
    change = compare_costs(side(linear), side(steeper, seed=1), margin=0.1)
    slope = change.checks[-1]
    assert (slope.metric, slope.outcome) == ("slope", Outcome.REGRESSED)
    assert slope.interval[0] < 1.4 < slope.interval[1]
    assert slope.reference == pytest.approx(0.0002, rel=0.05)
    assert slope.candidate == pytest.approx(0.00028, rel=0.05)
    assert change.explanation.startswith("the slope: 20")
    assert "per token" in change.explanation


def test_a_step_is_named_by_the_size_at_which_it_begins() -> None:
    """20 ms more from 64 tokens on: the classes from there regress, those before and the slope do not."""
    change = compare_costs(side(linear), side(stepped, seed=1), margin=0.1)
    worse = [check.metric for check in change.checks if check.outcome is Outcome.REGRESSED]
    assert worse
    assert min(int(metric.partition("-")[0]) for metric in worse) == 64
    assert "slope" not in worse
    assert change.explanation.startswith("a step: ")
    assert change.explanation.endswith("more from 64 tokens on")
    assert "ms (1" in change.explanation or "ms (2" in change.explanation


def test_a_bump_is_named_by_its_two_ends() -> None:
    """Texts of 64 to 127 tokens, 30 % slower: their classes regress, no other one, nor the slope."""
    change = compare_costs(side(linear), side(bumped, seed=1), edges=EDGES, margin=0.1)
    assert [check.metric for check in change.checks if check.outcome is Outcome.REGRESSED] == ["64-127 tokens"]
    assert change.explanation.endswith("more at 64 to 127 tokens only")


def test_a_service_that_is_slower_by_the_same_time_is_neither_steeper_nor_stepped() -> None:
    """10 ms more for everybody is a regression of every class, and said to be one of all sizes."""
    change = compare_costs(side(linear), side(lambda size: linear(size) + 0.01, seed=1), margin=0.1)
    assert change.checks[0].outcome is Outcome.REGRESSED
    assert change.checks[-1].outcome is not Outcome.REGRESSED
    assert change.explanation.startswith("every size takes longer")


def test_a_class_that_fails_is_worse_than_any_slope() -> None:
    """Texts of 256 tokens and more are no longer answered: their classes regress, and the others keep their slope. A
    service that answers nothing regresses in every class."""
    before, after = side(linear), side(linear, seed=1)
    for last, worse in [(256, {"256-512 tokens"}), (1, {f"{low}-{high - 1} tokens" for low, high in pairs(EDGES)})]:
        broken = [replace(one, failure=np.where(sizes_of(one) >= last, Failure.STATUS, 0)) for one in after]
        checks = compare_costs(before, broken, edges=EDGES, margin=0.1).checks
        assert {check.metric for check in checks if check.outcome is Outcome.REGRESSED} == worse


def test_runs_are_paired_by_what_was_sent() -> None:
    """Sides in another order are the same; a side of other payloads cannot be compared at all."""
    before, after = side(linear), side(steeper, seed=1)
    assert compare_costs(before, after) == compare_costs(before, after[::-1])
    with pytest.raises(ValidationError, match="no run of the candidate was issued the schedule"):
        compare_costs(before, [replace(one, digest="another") for one in after])


def test_what_makes_no_curve_is_refused() -> None:
    """No sizes, one class, edges that do not ascend, or sizes of another run: an error that says so."""
    runs = side(linear, count=2)
    for given, edges, said in [
        ([run()], None, "measure\\(service, size=...\\) counts them"),
        (runs, (1, 513), "edges must ascend"),
        (runs, (1, 64, 32), "edges must ascend"),
        (runs, (600, 700, 800), "at least two classes"),
        (side(linear, count=2, n=20), None, "longer runs"),
    ]:
        with pytest.raises(ValidationError, match=said):
            cost_curve(given, edges=edges)
    with pytest.raises(ValidationError, match=r"Run.sizes has shape \(3,\)"):
        run(sizes=np.arange(3))


def judged(curve: Curve, **reference: object) -> Measurement:
    facts = {"label": "baseline 2026-01-02", "runs": tuple(side(linear)), **reference}
    return measurement(runs=tuple(side(curve, seed=1)), reference=Reference(**facts))  # type: ignore[arg-type]


def test_a_measurement_judges_its_curve() -> None:
    """The verdict has the words of any regression, and names the slope or the step in its explanation."""
    verdict = judged(stepped).curve_has_not_regressed(margin="10%")
    assert (verdict.kind, verdict.outcome, verdict.passed) == ("regression", Outcome.REGRESSED, False)
    assert verdict.subject == "cost curve of steady under profile optimized, against baseline 2026-01-02"
    assert "more from 64 tokens on" in " ".join(repr(verdict).split())
    slope = " ".join(repr(judged(steeper).curve_has_not_regressed()).split())
    assert "REGRESSED slope 20" in slope
    assert "µs per token" in slope
    assert judged(linear).curve_has_not_regressed().outcome is Outcome.PASS


def test_a_curve_without_a_reference_is_no_baseline() -> None:
    """Neither where nothing, nor where no sizes are stored; and INVALID where the measurement failed."""
    alone = measurement(runs=tuple(side(linear)))
    assert alone.curve_has_not_regressed().outcome is Outcome.NO_BASELINE
    old = judged(linear, runs=tuple(replace(one, sizes=None) for one in side(linear))).curve_has_not_regressed()
    assert old.outcome is Outcome.NO_BASELINE
    assert "was recorded without sizes" in repr(old)
    spoiled = replace(judged(linear), findings=(INVALID,))
    assert spoiled.curve_has_not_regressed().outcome is Outcome.INVALID
    with pytest.raises(ValidationError, match="sizes of the payloads are not known"):
        measurement().curve_has_not_regressed()
