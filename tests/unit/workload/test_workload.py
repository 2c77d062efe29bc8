"""Workloads and the draw of their payloads."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_inferbench.errors import ConfigurationError, ValidationError
from pytest_inferbench.workload.arrivals import ClosedLoop, Constant, Poisson, Replay
from pytest_inferbench.workload.workload import Workload, draw_payloads


@pytest.mark.parametrize("duration", [0, -1, math.nan, math.inf, True, "20s", None])
def test_a_duration_that_cannot_be_is_refused_with_the_name(duration: object) -> None:
    """Zero, negative, not finite and not a number: the error names the workload and the value."""
    with pytest.raises(ValidationError, match="workload 'spike': duration") as caught:
        Workload("spike", Poisson(5), duration)  # type: ignore[arg-type]
    assert repr(duration) in str(caught.value)


def test_a_workload_without_a_single_arrival_is_refused() -> None:
    """Nothing to send is a mistake in rate or duration, and said so."""
    with pytest.raises(ValidationError, match=r"has no arrival in .* s at 1/s: raise its rate or its duration"):
        Workload("slow", Constant(1), 0.1).schedule(0)


def test_identity_tells_workloads_apart_by_every_parameter() -> None:
    """Name, process, its parameters and duration are part of what a baseline is of."""
    workload = Workload("w", Poisson(5), 2)
    assert workload.identity == {"name": "w", "duration": 2, "process": "poisson", "rate": 5}
    assert workload.expected_requests == 10


def test_payloads_are_drawn_by_seed_from_a_stream_of_their_own() -> None:
    """The same seed draws the same payloads, another seed others, and a longer run only appends."""
    source = list(range(1000))
    assert draw_payloads(source, 50, 1) == draw_payloads(source, 50, 1)
    assert draw_payloads(source, 50, 1) != draw_payloads(source, 50, 2)
    assert draw_payloads(source, 80, 1)[:50] == draw_payloads(source, 50, 1)


def test_a_function_draws_with_the_generator_it_is_given() -> None:
    """A payload function gets the count and a generator seeded by the run."""

    def source(count: int, rng: np.random.Generator) -> list[int]:
        return [int(value) for value in rng.integers(10**6, size=count)]

    assert draw_payloads(source, 5, 3) == draw_payloads(source, 5, 3)
    assert draw_payloads(source, 5, 3) != draw_payloads(source, 5, 4)


@pytest.mark.parametrize("source", [[], "text", b"bytes", {"text": "one"}])
def test_what_is_no_source_of_payloads_is_named(source: object) -> None:
    """A single payload in place of a list is the likely mistake, and named with its type."""
    with pytest.raises(
        ConfigurationError, match=f"inference_payloads must be a non-empty list.*{type(source).__name__}"
    ):
        draw_payloads(source, 3, 0)  # type: ignore[arg-type]


def test_a_function_must_return_as_many_as_asked() -> None:
    """Too few or too many payloads are told with both numbers."""
    with pytest.raises(ConfigurationError, match="asked for 3 payloads and returned 2"):
        draw_payloads(lambda count, rng: [1, 2], 3, 0)


def test_a_closed_loop_is_called_one_wherever_it_shows() -> None:
    """The label is part of the name, once, and the number of requests is that of the process."""
    workload = Workload("batch", ClosedLoop(4, 50), 10)
    assert workload.name == "batch (closed loop)"
    assert Workload(workload.name, ClosedLoop(4, 50), 10).name == "batch (closed loop)"
    assert workload.identity["process"] == "closed loop"
    assert workload.expected_requests == len(workload.schedule(1)) == 50


def test_payloads_of_the_sizes_that_a_trace_asks_for() -> None:
    """A function with ``sizes`` is told the sizes of the arrivals before the end; another source is refused."""
    workload = Workload("trace", Replay([0.0, 1.0, 9.0], [3, 5, 7]), 5)
    sizes = workload.sizes(len(workload.schedule(0)))
    assert sizes == (3, 5)

    def source(count: int, rng: np.random.Generator, sizes: tuple[int, ...] = ()) -> list[object]:
        return ["x" * size for size in sizes] or [None] * count

    assert draw_payloads(source, 2, 0, sizes) == ["xxx", "xxxxx"]
    assert draw_payloads(source, 2, 0) == [None, None]
    assert Workload("plain", Poisson(5), 5).sizes(3) is None
    for other in (["text"], lambda count, rng: [None] * count):
        with pytest.raises(ConfigurationError, match="must be a function"):
            draw_payloads(other, 2, 0, sizes)
