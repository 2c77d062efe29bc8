"""A workload: an arrival process, for how long, under a name."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_inferbench.arrivals import ArrivalProcess
from pytest_inferbench.errors import ValidationError

__all__ = ["Workload"]


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

    @property
    def identity(self) -> dict[str, object]:
        """What makes two measurements of this workload comparable, as plain JSON values."""
        return {"name": self.name, "duration": self.duration, **self.process.identity}

    @property
    def expected_requests(self) -> float:
        """Mean number of requests of one run."""
        return self.process.mean_rate * self.duration
