"""A workload: an arrival process, for how long, under a name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_inferbench.errors import ConfigurationError, ValidationError
from pytest_inferbench.workload.arrivals import ArrivalProcess, ClosedLoop, Replay, Schedule
from pytest_inferbench.workload.seeds import stream

__all__ = ["PayloadSource", "Workload", "draw_payloads"]

#: What ``inference_payloads`` may be: payloads to draw from, or a function of how many and a seeded generator; one
#: that takes ``sizes`` too is told how large each is to be, where the workload replays a trace that says so.
PayloadSource = Sequence[object] | Callable[..., Sequence[object]]


@dataclass(frozen=True, slots=True)
class Workload:
    """``process`` issued for ``duration`` seconds. The same workload is the same for every profile."""

    name: str
    process: ArrivalProcess
    duration: float

    def __post_init__(self) -> None:
        if isinstance(self.process, ClosedLoop) and "closed loop" not in self.name:
            # In the name, because that is what every report, baseline and message shows.
            object.__setattr__(self, "name", f"{self.name} (closed loop)")
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
        if isinstance(self.process, ClosedLoop):
            return self.process.requests
        return self.process.mean_rate * self.duration

    def sizes(self, count: int) -> tuple[int, ...] | None:
        """Return how large each of the first ``count`` requests is to be; None if the process does not say."""
        sizes = self.process.sizes if isinstance(self.process, Replay) else None
        return None if sizes is None else sizes[:count]


def draw_payloads(source: PayloadSource, count: int, seed: int, sizes: Sequence[int] | None = None) -> list[object]:
    """Return ``count`` payloads: from ``source`` called with the payload stream of ``seed``, or drawn from it.

    ``sizes``: how large each is to be; a function with a parameter of that name gets it. Raises ConfigurationError
    if there are sizes and ``source`` is no such function: requests of another size would be another workload.
    """
    rng = stream(seed, "payloads")
    if sizes is not None and not (callable(source) and "sizes" in inspect.signature(source).parameters):
        raise ConfigurationError(
            "this workload replays a trace with a size for each request, so inference_payloads must be a function "
            "(count, rng, sizes) -> list that makes payloads of these sizes; leave out the trace's size otherwise"
        )
    if callable(source):
        payloads = list(source(count, rng) if sizes is None else source(count, rng, sizes=sizes))
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
