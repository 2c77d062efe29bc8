"""What happened in one run, request by request: facts only, no judgement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.runs.usage import Resources

__all__ = ["ClockOffset", "Failure", "Run", "Turn"]


class Failure(IntEnum):
    """Why a request counts as failed. ``NONE`` means that it succeeded."""

    NONE = 0
    UNISSUED = 1  #: the generator never sent it
    UNFINISHED = 2  #: no answer when the bounded drain ended
    CONNECT = 3  #: connection refused or not established
    RESET = 4  #: connection reset or closed before an answer
    TIMEOUT = 5  #: no answer within the timeout per request
    TRUNCATED = 6  #: the body ended early or broke the protocol
    STATUS = 7  #: an HTTP status outside 200-399
    CHECK = 8  #: the response check said no
    OTHER = 9  #: any other transport error
    LOCAL = 10  #: the generator's own machine ran out of descriptors, ports or memory: not the service's fault


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """The clock of a ``generator`` on another machine: ahead of ours by ``offset_ns``, give or take ``error_ns``.

    Latencies are differences on one clock and do not depend on it; only how the requests of several generators lie
    to one another does.
    """

    generator: str
    offset_ns: int
    error_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A part of a run during which this system alone was loaded; the other system of the pair had its turns between.

    ``first``: its first request; it lasts to the first one of the next turn. ``began_ns``: when, on the machine's
    monotonic clock. ``seconds``: until all of its answers were there. ``others``: the CPU time that processes of
    neither system took meanwhile, and that the hypervisor withheld (steal), as a share of that of all CPUs; None where
    that is not known.
    """

    first: int
    began_ns: int = 0
    seconds: float = 0.0
    others: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """The frozen facts of one run: n requests, arrays of shape (n,), one monotonic clock, nanoseconds.

    ``scheduled_ns``: when each request was due. ``issued_ns``: read just before the client got the request, -1 if
    it was never issued. ``completed_ns``: when the last byte of the answer was read, or the failure was known;
    -1 if neither happened before the drain ended. ``status``: HTTP status, 0 for a transport error, an unissued
    or an unfinished request. ``failure``: a :class:`Failure` per request. ``server_timing``: milliseconds per
    ``Server-Timing`` metric, NaN where a response did not send it (the batch size is the metric ``batch``).
    ``seed`` and ``digest`` are the schedule's; ``payload_digest`` identifies what was sent. ``closed_loop``: each
    request waited for an earlier answer, and ``scheduled_ns`` is ``issued_ns``; such latencies hide queueing.
    ``clocks``: of the generators on other machines, whose instants were put on our clock; empty if there were none.
    ``resources``: what service and generator used meanwhile, where that was measured. ``sizes``: of the payloads, in
    tokens or whatever the test counts, where it says how. ``calibration_ns``: how long a fixed computation took on this
    machine right before and after, where the service ran here. ``turns``: the parts in which the load was issued, where
    another system was loaded in between; none means that it was issued in one. The clock of such a run stands still
    between its turns.
    """

    scheduled_ns: NDArray[np.int64]
    issued_ns: NDArray[np.int64]
    completed_ns: NDArray[np.int64]
    status: NDArray[np.int16]
    failure: NDArray[np.uint8] | None = None
    server_timing: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    seed: int = 0
    digest: str = ""
    payload_digest: str = ""
    closed_loop: bool = False
    clocks: tuple[ClockOffset, ...] = ()
    resources: Resources | None = None
    sizes: NDArray[np.int64] | None = None
    calibration_ns: int | None = None
    turns: tuple[Turn, ...] = ()

    def __post_init__(self) -> None:
        n = np.asarray(self.scheduled_ns).size
        issued = np.asarray(self.issued_ns)
        completed = np.asarray(self.completed_ns)
        status = np.asarray(self.status)
        for name, shape in (("issued_ns", issued.shape), ("completed_ns", completed.shape), ("status", status.shape)):
            if shape != (n,):
                raise ValidationError(f"Run.{name} has shape {shape}, but {n} requests were scheduled")
        if self.failure is None:
            ok = (status >= 200) & (status < 400)
            failure = np.where(ok, Failure.NONE, np.where(status > 0, Failure.STATUS, Failure.OTHER))
            failure = np.where(completed < 0, Failure.UNFINISHED, failure)
            failure = np.where(issued < 0, Failure.UNISSUED, failure)
        else:
            failure = np.asarray(self.failure)
            if failure.shape != (n,):
                raise ValidationError(f"Run.failure has shape {failure.shape}, but {n} requests were scheduled")
        if self.sizes is not None and np.shape(self.sizes) != (n,):
            raise ValidationError(f"Run.sizes has shape {np.shape(self.sizes)}, but {n} requests were scheduled")
        if self.calibration_ns is not None and self.calibration_ns <= 0:
            raise ValidationError(f"Run.calibration_ns must be greater than zero, got {self.calibration_ns!r}")
        starts = [turn.first for turn in self.turns]
        if starts and (starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] >= n):
            raise ValidationError(f"Run.turns must begin at request 0 and ascend below {n}, got {starts!r}")
        timing = {name: np.asarray(values, dtype=np.float32) for name, values in self.server_timing.items()}
        for name, values in timing.items():
            if values.shape != (n,):
                raise ValidationError(f"Run.server_timing[{name!r}] has shape {values.shape}, expected ({n},)")
        frozen: dict[str, object] = {
            "scheduled_ns": _frozen(np.asarray(self.scheduled_ns), np.int64),
            "issued_ns": _frozen(issued, np.int64),
            "completed_ns": _frozen(completed, np.int64),
            "status": _frozen(status, np.int16),
            "failure": _frozen(failure, np.uint8),
            "server_timing": {name: _frozen(durations, np.float32) for name, durations in timing.items()},
            "sizes": None if self.sizes is None else _frozen(np.asarray(self.sizes), np.int64),
        }
        for attribute, value in frozen.items():
            object.__setattr__(self, attribute, value)

    @classmethod
    def unissued(cls, offsets_ns: NDArray[np.int64], *, seed: int, digest: str) -> Run:
        """Return the run of a schedule of which nothing was issued, or nothing could be kept."""
        n = offsets_ns.size
        never = np.full(n, -1, np.int64)
        return cls(offsets_ns, never, never, np.zeros(n, np.int16), seed=seed, digest=digest)

    def __len__(self) -> int:
        return int(self.scheduled_ns.size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Run):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]  # arrays have no cheap hash

    @property
    def failed(self) -> NDArray[np.bool_]:
        """True for each request without a good answer, whatever the reason."""
        failed: NDArray[np.bool_] = np.asarray(self.failure) != Failure.NONE
        return failed

    @property
    def latency_ns(self) -> NDArray[np.int64]:
        """Completed minus *scheduled*: what a user who wanted the answer then had to wait. -1 if unfinished."""
        return np.where(self.completed_ns < 0, -1, self.completed_ns - self.scheduled_ns)

    @property
    def issue_delay_ns(self) -> NDArray[np.int64]:
        """Issued minus scheduled: how late the generator was. -1 if unissued."""
        return np.where(self.issued_ns < 0, -1, self.issued_ns - self.scheduled_ns)

    @property
    def service_time_ns(self) -> NDArray[np.int64]:
        """Completed minus issued: what the client saw once it had the request. -1 if unissued or unfinished."""
        return np.where((self.completed_ns < 0) | (self.issued_ns < 0), -1, self.completed_ns - self.issued_ns)

    @property
    def latencies(self) -> NDArray[np.float64]:
        """Latencies in seconds in arrival order, +inf for every failed request: what quantiles are taken of."""
        return np.where(self.failed, np.inf, self.latency_ns / 1e9)

    @property
    def error_rate(self) -> float:
        """Failed requests over scheduled ones, in [0, 1]; NaN for an empty run."""
        return float(self.failed.mean()) if len(self) else float("nan")

    @property
    def throughput(self) -> float:
        """Good answers per second, from the first due request to the last good answer; 0 without any."""
        good = ~self.failed
        if not good.any():
            return 0.0
        span_ns = int(self.completed_ns[good].max() - self.scheduled_ns[0])
        return float(good.sum()) / (span_ns / 1e9) if span_ns > 0 else float("inf")

    @property
    def turn_slices(self) -> tuple[slice, ...]:
        """The requests of each turn; one slice of all requests for a run that was issued in one."""
        starts = [turn.first for turn in self.turns] or [0]
        return tuple(slice(a, b) for a, b in zip(starts, [*starts[1:], len(self)], strict=True))

    def count(self, failure: Failure) -> int:
        """Return how many requests failed for this reason."""
        return int((np.asarray(self.failure) == failure).sum())


def _frozen(values: NDArray[np.generic], dtype: type[np.generic]) -> NDArray[np.generic]:
    frozen = np.array(values, dtype=dtype)
    frozen.setflags(write=False)
    return frozen


def _same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype.kind == "f")
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return a == b
