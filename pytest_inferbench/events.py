"""What happens while a workload is measured, as values: the orchestration says it, a report shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "BootProgress",
    "Booting",
    "Drained",
    "Event",
    "Issuing",
    "Observer",
    "Probed",
    "Ready",
    "Waiting",
    "WarmingUp",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Another session holds this machine."""

    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Booting:
    """Boot ``number`` of ``total`` of this measurement begins."""

    workload: str
    profile: str
    number: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BootProgress:
    """The service is not ready after ``seconds``; ``line`` is the last line of its log (building a model, say)."""

    seconds: float
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The service answered its readiness check after ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmingUp:
    """Warm-up requests are being sent; ``requests`` so far."""

    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuing:
    """The run is under way: seconds, counts of requests, and figures of the latest of them.

    ``p50``, ``p95`` and ``delay`` as in :class:`Progress`: seconds, None before the first request.
    """

    elapsed: float
    total: float
    scheduled: int
    issued: int
    completed: int
    failed: int
    p50: float | None = None
    p95: float | None = None
    delay: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """A run is over, its service ended. ``p50`` and ``p95`` in seconds, inf if that many requests failed."""

    workload: str
    profile: str
    number: int
    total: int
    requests: int
    failed: int
    p50: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A search for the capacity tried a ``rate`` (per second). ``p95`` in seconds."""

    rate: float
    held: bool
    p95: float
    error_rate: float


Event = Waiting | Booting | BootProgress | Ready | WarmingUp | Issuing | Drained | Probed
Observer = Callable[[Event], None]
