"""What a session has measured, as it becomes complete: events beside those of the progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_inferbench.events import Event
from pytest_inferbench.harness.capacity import Capacity
from pytest_inferbench.judgement.measurement import Measurement

__all__ = ["CapacityFound", "Measured", "Observer", "Recorded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A measurement of ``test`` (the name of its baseline) is complete."""

    test: str
    measurement: Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityFound:
    """A search that ``test`` asked for is complete."""

    test: str
    capacity: Capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The runs of ``test`` under ``profile`` are stored as its baseline."""

    test: str
    profile: str


Observer = Callable[[Event | Measured | CapacityFound | Recorded], None]
