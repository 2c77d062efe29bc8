"""How far a run has come, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

__all__ = ["Progress", "Tally"]


@dataclass(frozen=True, slots=True)
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


class Tally:
    """Adds up what several generators report; ``tell`` hears of it whenever the first of them has reported."""

    def __init__(self, tell: Callable[[Progress], None], *, scheduled: int, total_ns: int) -> None:
        self._tell = tell
        self._scheduled = scheduled
        self._total_ns = total_ns
        self._latest: dict[int, Mapping[str, int]] = {}

    def report(self, generator: int, facts: Mapping[str, object]) -> None:
        """Take the report of one generator, numbered from 0."""
        self._latest[generator] = cast("Mapping[str, int]", facts)
        if generator == 0:
            self._tell(
                Progress(
                    elapsed=self._latest[0]["elapsed_ns"] / 1e9,
                    total=self._total_ns / 1e9,
                    scheduled=self._scheduled,
                    issued=self._sum("issued"),
                    completed=self._sum("completed"),
                    failed=self._sum("failed"),
                    p50=self._worst("p50_ns"),
                    p95=self._worst("p95_ns"),
                    delay=self._worst("delay_ns"),
                )
            )

    def _sum(self, count: str) -> int:
        return sum(facts[count] for facts in self._latest.values())

    def _worst(self, figure: str) -> float | None:
        told = [facts[figure] / 1e9 for facts in self._latest.values() if figure in facts]
        return max(told, default=None)
