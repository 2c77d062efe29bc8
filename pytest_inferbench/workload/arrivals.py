"""Arrival processes: when requests are due, decided before any of them is sent."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.workload.seeds import stream

__all__ = ["ArrivalProcess", "ClosedLoop", "Constant", "Gamma", "Poisson", "Replay", "Schedule"]

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """The instants at which the requests of one run are due.

    ``offsets_ns``: int64, shape (n,), non-decreasing, nanoseconds after the start of the run. ``seed`` is the
    seed it was drawn with. ``digest`` identifies the offsets: two sides are paired only if theirs agree.
    """

    offsets_ns: NDArray[np.int64]
    seed: int = 0
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        offsets = np.array(self.offsets_ns)  # a copy: the caller's array stays writable, ours does not
        if offsets.ndim != 1 or offsets.dtype.kind not in "iu":
            raise ValidationError(
                f"a schedule needs a 1-D array of integer nanoseconds, got {offsets.dtype} {offsets.shape}"
            )
        offsets = offsets.astype(np.int64)
        if offsets.size and (offsets[0] < 0 or np.any(np.diff(offsets) < 0)):
            raise ValidationError("a schedule's offsets must be non-negative and must not decrease")
        offsets.setflags(write=False)
        object.__setattr__(self, "offsets_ns", offsets)
        object.__setattr__(self, "digest", hashlib.blake2b(offsets.astype("<i8").tobytes(), digest_size=12).hexdigest())

    def __len__(self) -> int:
        return int(self.offsets_ns.size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and (self.seed, self.digest) == (other.seed, other.digest)

    def __hash__(self) -> int:
        return hash((self.seed, self.digest))


@runtime_checkable
class ArrivalProcess(Protocol):
    """What a workload needs of an arrival process."""

    def schedule(self, duration: float, seed: int) -> Schedule:
        """Return all arrivals before ``duration`` seconds; the same seed gives the same arrivals."""

    @property
    def mean_rate(self) -> float:
        """Arrivals per second in the long run."""

    @property
    def identity(self) -> dict[str, object]:
        """What makes this process this process, as plain JSON values; stored with a baseline."""


def _positive(value: float, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValidationError(f"{what} must be a finite number greater than zero, got {value!r}")


def _renewal(draw: Callable[[np.random.Generator, int], NDArray[np.float64]], duration: float, seed: int) -> Schedule:
    """Return all arrivals before ``duration`` of the renewal process with the gaps of ``draw``.

    Gaps are drawn block by block until one arrival lies beyond the end, so that the count is random too, as it
    is for the process (a fixed count would condition it), and a longer duration only appends.
    """
    _positive(duration, "duration (seconds)")
    rng = stream(seed, "arrivals")
    blocks: list[NDArray[np.float64]] = []
    end = 0.0
    while end < duration:
        blocks.append(end + np.cumsum(draw(rng, 1024)))
        end = float(blocks[-1][-1])
    offsets = np.concatenate(blocks)
    return Schedule(np.floor(offsets[offsets < duration] * _NS).astype(np.int64), seed)


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent users: exponential gaps with mean 1/``rate`` seconds (CV 1). ``rate`` is per second."""

    rate: float

    def __post_init__(self) -> None:
        _positive(self.rate, "Poisson rate (per second)")

    def schedule(self, duration: float, seed: int = 0) -> Schedule:
        """Return all arrivals before ``duration`` seconds."""
        return _renewal(lambda rng, n: rng.exponential(1 / self.rate, n), duration, seed)

    @property
    def mean_rate(self) -> float:
        """Arrivals per second in the long run."""
        return self.rate

    @property
    def identity(self) -> dict[str, object]:
        """The process as plain JSON values."""
        return {"process": "poisson", "rate": self.rate}


@dataclass(frozen=True, slots=True)
class Gamma:
    """Bursts: gamma gaps with mean 1/``rate`` seconds and coefficient of variation ``cv``.

    Shape 1/cv² and scale cv²/rate, so that cv = 1 is a Poisson process and cv > 1 is burstier than one.
    """

    rate: float
    cv: float

    def __post_init__(self) -> None:
        _positive(self.rate, "Gamma rate (per second)")
        _positive(self.cv, "Gamma cv (coefficient of variation)")

    def schedule(self, duration: float, seed: int = 0) -> Schedule:
        """Return all arrivals before ``duration`` seconds."""
        shape = 1 / self.cv**2
        return _renewal(lambda rng, n: rng.gamma(shape, 1 / (self.rate * shape), n), duration, seed)

    @property
    def mean_rate(self) -> float:
        """Arrivals per second in the long run."""
        return self.rate

    @property
    def identity(self) -> dict[str, object]:
        """The process as plain JSON values."""
        return {"process": "gamma", "rate": self.rate, "cv": self.cv}


@dataclass(frozen=True, slots=True)
class Constant:
    """A metronome: one arrival every 1/``rate`` seconds, the first after one gap. The seed changes nothing."""

    rate: float

    def __post_init__(self) -> None:
        _positive(self.rate, "Constant rate (per second)")

    def schedule(self, duration: float, seed: int = 0) -> Schedule:
        """Return all arrivals before ``duration`` seconds."""
        _positive(duration, "duration (seconds)")
        # Multiples of the gap, not a running sum: no rounding error builds up.
        offsets = np.arange(1, math.floor(duration * self.rate) + 2) / self.rate
        return Schedule(np.floor(offsets[offsets < duration] * _NS).astype(np.int64), seed)

    @property
    def mean_rate(self) -> float:
        """Arrivals per second in the long run."""
        return self.rate

    @property
    def identity(self) -> dict[str, object]:
        """The process as plain JSON values."""
        return {"process": "constant", "rate": self.rate}


@dataclass(frozen=True, slots=True)
class Replay:
    """Recorded arrivals: ``offsets`` in seconds after the start, non-decreasing. The seed changes nothing.

    ``sizes``: how large each request was, in whatever unit its payload is made by; None if that is not known.
    """

    offsets: tuple[float, ...]
    sizes: tuple[int, ...] | None = None

    def __init__(self, offsets: Sequence[float], sizes: Sequence[int] | None = None) -> None:
        values = np.asarray(offsets, dtype=np.float64)
        if values.ndim != 1 or not values.size:
            raise ValidationError(f"Replay needs a non-empty 1-D sequence of seconds, got shape {values.shape}")
        if not np.isfinite(values).all() or values[0] < 0 or np.any(np.diff(values) < 0):
            raise ValidationError("Replay offsets must be finite, non-negative seconds in non-decreasing order")
        object.__setattr__(self, "offsets", tuple(values.tolist()))
        if sizes is not None:
            counts = np.asarray(sizes)
            if counts.shape != values.shape or counts.dtype.kind not in "iu" or counts.min() < 0:
                raise ValidationError(f"Replay sizes must be {values.size} whole numbers from 0 up, one per offset")
            sizes = tuple(counts.tolist())
        object.__setattr__(self, "sizes", sizes)

    def window(self, start: float, length: float | None = None) -> Replay:
        """Return the arrivals from ``start`` on, for ``length`` seconds or to the end, counted from ``start``."""
        values = np.asarray(self.offsets)
        chosen = (values >= start) & (values < (math.inf if length is None else start + length))
        if not chosen.any():
            raise ValidationError(
                f"the recording has no arrival in its window from {start:g} s on: it is {self.offsets[-1]:g} s long"
            )
        return self._with(values[chosen] - start, np.flatnonzero(chosen))

    def scaled(self, *, time: float = 1.0, rate: float = 1.0, seed: int = 0) -> Replay:
        """Return the recording ``time`` times as long, and with ``rate`` times the arrivals within its length.

        Stretching time keeps every arrival and makes bursts milder; it divides the rate. A ``rate`` below one keeps
        each arrival with that probability; above one it adds copies (of the same size), each at a random instant
        before the next recorded arrival. Which ones depends on ``seed`` alone.
        """
        _positive(time, "Replay.scaled time")
        _positive(rate, "Replay.scaled rate")
        values = np.asarray(self.offsets) * time
        if rate == 1.0:
            return self._with(values, np.arange(values.size))
        rng = stream(seed, "replay")
        copies = int(rate) + (rng.random(values.size) < rate % 1)
        source = np.repeat(np.arange(values.size), copies)
        if not source.size:
            raise ValidationError(f"at {rate:g} times its rate the recording of {values.size} arrivals has none left")
        first = np.diff(source, prepend=-1) > 0
        gaps = np.diff(values, append=values[-1] + values[-1] / values.size)
        moved = values[source] + np.where(first, 0.0, rng.random(source.size) * gaps[source])
        order = np.argsort(moved, kind="stable")
        return self._with(moved[order], source[order])

    def _with(self, offsets: NDArray[np.float64], source: NDArray[np.intp]) -> Replay:
        sizes = None if self.sizes is None else np.asarray(self.sizes)[source].tolist()
        return Replay(offsets.tolist(), sizes)

    def schedule(self, duration: float | None = None, seed: int = 0) -> Schedule:
        """Return the recorded arrivals before ``duration`` seconds, or all of them."""
        values = np.asarray(self.offsets)
        if duration is not None:
            _positive(duration, "duration (seconds)")
            values = values[values < duration]
        return Schedule(np.floor(values * _NS).astype(np.int64), seed)

    @property
    def mean_rate(self) -> float:
        """Arrivals per second over the recording."""
        return len(self.offsets) / self.offsets[-1] if self.offsets[-1] else math.inf

    @property
    def identity(self) -> dict[str, object]:
        """The recording by its digest: the offsets themselves are long and belong to the trace."""
        return {"process": "replay", "arrivals": len(self.offsets), "digest": self.schedule().digest}


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """No arrivals: ``concurrency`` users, each sending its next of ``requests`` when its last one was answered.

    Such users wait with the service, so that their latencies hide what independent ones would suffer (coordinated
    omission): the word "closed loop" stands wherever results of it do. Right for a batch client, wrong for an SLO
    of interactive users.
    """

    concurrency: int
    requests: int

    def __post_init__(self) -> None:
        for name in ("concurrency", "requests"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValidationError(f"ClosedLoop {name} must be a whole number above zero, got {value!r}")

    def schedule(self, duration: float, seed: int = 0) -> Schedule:
        """Return as many due instants as there are requests, all at the start: nothing else is known beforehand."""
        return Schedule(np.zeros(self.requests, np.int64), seed)

    @property
    def mean_rate(self) -> float:
        """NaN: the service sets the rate."""
        return math.nan

    @property
    def identity(self) -> dict[str, object]:
        """The process as plain JSON values."""
        return {"process": "closed loop", "concurrency": self.concurrency, "requests": self.requests}
