"""Arrival processes whose rate changes in the course of a run: a ramp, and steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.workload.arrivals import Schedule
from pytest_inferbench.workload.seeds import stream

__all__ = ["Ramp", "Steps"]


@dataclass(frozen=True, slots=True)
class Ramp:
    """A rate that goes in a straight line from ``start`` to ``end`` (per second) over the duration of the run.

    ``cv`` is that of the gaps in operational time, as in :class:`Gamma`; 1 is a Poisson process of changing rate.
    """

    start: float
    end: float
    cv: float = 1.0

    def __post_init__(self) -> None:
        _rates((self.start, self.end), "Ramp start and end")
        _positive(self.cv, "Ramp cv")

    def schedule(self, duration: float, seed: int = 0) -> Schedule:
        """Return all arrivals before ``duration`` seconds."""
        _positive(duration, "duration (seconds)")
        due = _operational(self.mean_rate * duration, self.cv, seed)
        # The inverse of start t + (end - start) t^2 / (2 duration), in the form that does not cancel.
        slope = (self.end - self.start) / duration
        root = np.sqrt(np.maximum(self.start**2 + 2 * slope * due, 0.0))
        return _schedule(2 * due / (self.start + root), duration, seed)

    @property
    def mean_rate(self) -> float:
        """Arrivals per second over the whole run."""
        return (self.start + self.end) / 2

    @property
    def identity(self) -> dict[str, object]:
        """The process as plain JSON values."""
        return {"process": "ramp", "from": self.start, "to": self.end, "cv": self.cv}


@dataclass(frozen=True, slots=True)
class Steps:
    """``rates`` (per second) one after the other, each for an equal part of the run; 0 is a pause.

    A rate that shall last longer is named several times. ``cv`` as in :class:`Ramp`.
    """

    rates: tuple[float, ...]
    cv: float = 1.0

    def __init__(self, rates: Sequence[float], cv: float = 1.0) -> None:
        object.__setattr__(self, "rates", tuple(rates))
        object.__setattr__(self, "cv", cv)
        _rates(self.rates, "Steps rates")
        _positive(cv, "Steps cv")

    def schedule(self, duration: float, seed: int = 0) -> Schedule:
        """Return all arrivals before ``duration`` seconds."""
        _positive(duration, "duration (seconds)")
        part = duration / len(self.rates)
        reached = np.concatenate(([0.0], np.cumsum(self.rates) * part))
        due = _operational(float(reached[-1]), self.cv, seed)
        step = np.searchsorted(reached, due, side="right") - 1
        return _schedule(step * part + (due - reached[step]) / np.asarray(self.rates)[step], duration, seed)

    @property
    def mean_rate(self) -> float:
        """Arrivals per second over the whole run."""
        return sum(self.rates) / len(self.rates)

    @property
    def identity(self) -> dict[str, object]:
        """The process as plain JSON values."""
        return {"process": "steps", "rates": list(self.rates), "cv": self.cv}


def _operational(end: float, cv: float, seed: int) -> NDArray[np.float64]:
    """Return the arrivals before ``end`` of a renewal process of rate 1 with gamma gaps.

    Run through the inverse of the cumulative rate they are the arrivals of the changing one (Cinlar 1975, section
    4.7, for Poisson; Gerhardt and Nelson 2009 for other gaps).
    """
    rng = stream(seed, "arrivals")
    blocks: list[NDArray[np.float64]] = []
    last = 0.0
    while last < end:
        blocks.append(last + np.cumsum(rng.gamma(1 / cv**2, cv**2, 1024)))
        last = float(blocks[-1][-1])
    due = np.concatenate(blocks)
    return due[due < end]


def _schedule(offsets: NDArray[np.float64], duration: float, seed: int) -> Schedule:
    return Schedule(np.floor(offsets[offsets < duration] * 1e9).astype(np.int64), seed)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive(value: float, what: str) -> None:
    if not _number(value) or value <= 0:
        raise ValidationError(f"{what} must be a finite number greater than zero, got {value!r}")


def _rates(values: tuple[float, ...], what: str) -> None:
    if not all(_number(value) and value >= 0 for value in values) or not any(values):
        raise ValidationError(f"{what} must be finite numbers from zero up, not all of them zero; got {values!r}")
