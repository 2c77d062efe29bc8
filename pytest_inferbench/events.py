"""What happens while a workload is measured, as values: the harness emits them, one observer receives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "BootProgress",
    "Booting",
    "Drained",
    "Event",
    "Observer",
    "Probed",
    "Progress",
    "Ready",
    "TurnBegan",
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
class TurnBegan:
    """Both systems of a pair are ready, and ``turn`` of ``turns`` of this one begins; ``number`` of ``total`` runs."""

    workload: str
    profile: str
    number: int
    total: int
    turn: int
    turns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A run under way: ``elapsed`` of ``total`` seconds, and how many requests reached each stage.

    ``total`` is when the last request is due (0 for a closed loop, which has no such instant). ``scheduled`` counts
    every request of the run; ``issued``, ``completed`` (good or bad) and ``failed`` grow towards it. The first
    report comes when the clock of the run starts, with ``elapsed`` 0. ``p50`` and ``p95`` (seconds) are of the latest
    thousand requests issued, those without an answer counted with their age; ``delay`` is the longest time that one
    of them was issued late. Of several generators the worst. None before the first request.
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


Event = Waiting | Booting | BootProgress | Ready | WarmingUp | TurnBegan | Progress | Drained | Probed
Observer = Callable[[Event], None]
