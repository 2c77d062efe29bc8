"""Adds up how far each load generator of a run has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from pytest_inferbench.events import Progress

__all__ = ["ProgressSum"]


class ProgressSum:
    """Adds up what several generators report; ``report_progress`` is called whenever the first of them has reported."""

    def __init__(self, report_progress: Callable[[Progress], None], *, scheduled: int, total_ns: int) -> None:
        self._report_progress = report_progress
        self._scheduled = scheduled
        self._total_ns = total_ns
        self._latest: dict[int, Mapping[str, int]] = {}

    def report(self, generator: int, facts: Mapping[str, object]) -> None:
        """Take the report of one generator, numbered from 0."""
        self._latest[generator] = cast("Mapping[str, int]", facts)
        if generator == 0:
            self._report_progress(
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
        known = [facts[figure] / 1e9 for facts in self._latest.values() if figure in facts]
        return max(known, default=None)
