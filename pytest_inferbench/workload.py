"""A workload: an arrival process, for how long, under a name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_inferbench.arrivals import ArrivalProcess, Schedule
from pytest_inferbench.errors import ConfigurationError, ValidationError
from pytest_inferbench.seeds import stream

__all__ = ["PayloadSource", "Workload", "draw_payloads"]

#: What ``inference_payloads`` may be: payloads to draw from, or a function of how many and a seeded generator.
PayloadSource = Sequence[object] | Callable[[int, np.random.Generator], Sequence[object]]


@dataclass(frozen=True, slots=True)
class Workload:
    """``process`` issued for ``duration`` seconds. The same workload is the same for every profile."""

    name: str
    process: ArrivalProcess
    duration: float

    def __post_init__(self) -> None:
        if isinstance(self.duration, bool) or not isinstance(self.duration, int | float):
            raise ValidationError(
                f"workload {self.name!r}: duration must be a number of seconds, got {self.duration!r}"
            )
        if not math.isfinite(self.duration) or self.duration <= 0:
            raise ValidationError(f"workload {self.name!r}: duration must be greater than zero, got {self.duration!r}")

    def schedule(self, seed: int) -> Schedule:
        """Return the arrivals of one run. Raises ValidationError if there are none."""
        schedule = self.process.schedule(self.duration, seed)
        if not len(schedule):
            raise ValidationError(
                f"workload {self.name!r} has no arrival in {self.duration:g} s at {self.process.mean_rate:g}/s: "
                "raise its rate or its duration"
            )
        return schedule

    @property
    def identity(self) -> dict[str, object]:
        """What makes two measurements of this workload comparable, as plain JSON values."""
        return {"name": self.name, "duration": self.duration, **self.process.identity}

    @property
    def expected_requests(self) -> float:
        """Mean number of requests of one run."""
        return self.process.mean_rate * self.duration


def draw_payloads(source: PayloadSource, count: int, seed: int) -> list[object]:
    """Return ``count`` payloads: from ``source`` called with the payload stream of ``seed``, or drawn from it."""
    rng = stream(seed, "payloads")
    if callable(source):
        payloads = list(source(count, rng))
        if len(payloads) != count:
            raise ConfigurationError(
                f"inference_payloads was asked for {count} payloads and returned {len(payloads)}: return exactly "
                "as many as asked"
            )
        return payloads
    if isinstance(source, str | bytes | dict) or not len(source):
        raise ConfigurationError(
            f"inference_payloads must be a non-empty list of payloads or a function (count, rng) -> list, "
            f"got {type(source).__name__} {source!r:.60}"
        )
    return [source[index] for index in rng.integers(len(source), size=count)]
