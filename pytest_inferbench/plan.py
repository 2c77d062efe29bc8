"""How many pairs of runs a measurement takes: a fixed number, or as many as it takes to decide, within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_inferbench.comparison import METRICS
from pytest_inferbench.errors import ConfigurationError, ValidationError
from pytest_inferbench.pairing import pair_up, read_side
from pytest_inferbench.run import Run
from pytest_inferbench.sequential import LOOKS, sequential_decision

__all__ = ["Plan", "Stop"]


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a measurement ended, and the ``level`` at which its comparisons are judged so that alpha holds overall."""

    level: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The rule by which a measurement goes on or ends, fixed before its first boot.

    ``looks``: the numbers of pairs after which to decide; one look is a fixed number of pairs. ``metrics`` and
    ``margin`` (a fraction): what a look decides by. What the test asserts later may differ: the intervals of all
    looks hold together (see `sequential_decision`), whatever made the measurement end.
    """

    looks: tuple[int, ...]
    metrics: tuple[str, ...] = ("p50", "p95")
    margin: float = 0.05
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not self.looks or min(self.looks) < 1 or list(self.looks) != sorted(set(self.looks)):
            raise ValidationError(f"looks must be increasing numbers of pairs, got {self.looks!r}")
        for metric in self.metrics:
            if metric not in METRICS:
                raise ConfigurationError(f"measure: unknown metric {metric!r}; choose of {', '.join(METRICS)}")

    @classmethod
    def of(
        cls,
        *,
        repeats: int,
        sequential: bool,
        metrics: Sequence[str],
        margin: float,
        alpha: float,
        most: int | None = None,
        available: int | None = None,
    ) -> Plan:
        """Return the plan for ``repeats`` pairs, or for at most ``most`` with looks in between if ``sequential``.

        ``available``: how many runs a stored reference has to offer; more than that make no pairs.
        """
        if repeats < 1:
            raise ConfigurationError(f"repeats must be at least 1, got {repeats}")
        if sequential:
            last = min(most or LOOKS[-1], available or LOOKS[-1])
            looks = (*(n for n in LOOKS if n < last), last)
        else:
            looks = (repeats,)
        return cls(looks=looks, metrics=tuple(metrics), margin=margin, alpha=alpha)

    @property
    def most(self) -> int:
        """The number of pairs after which the measurement ends in any case."""
        return self.looks[-1]

    def stop(
        self, reference: Sequence[Run], candidate: Sequence[Run], *, spent: bool, stored: bool = False
    ) -> Stop | None:
        """Return why to end now, after ``candidate`` runs, or None to go on. ``spent``: the budget has ended.

        ``stored``: the reference is a baseline, not the other system of this session.

        ``reference`` is empty where there is nothing to compare with: then only the last look and the budget count.
        """
        pairs = len(candidate)
        last = pairs >= self.most
        if len(self.looks) == 1 or not reference:
            if last:
                return Stop(self.alpha)
            return Stop(self.alpha, f"the budget ended after {pairs} of {self.most} runs") if spent else None
        if pairs not in self.looks and not spent:
            return None
        paired = len(pair_up(read_side(reference, "reference"), read_side(candidate, "candidate")).pairs)
        if paired != pairs:  # a stored baseline of other seeds or payloads: nothing to look at in between
            return Stop(self.alpha) if last or spent else None
        decision = sequential_decision(
            reference,
            candidate,
            metrics=self.metrics,
            margin=self.margin,
            alpha=self.alpha,
            looks=self.looks,
            final=pairs not in self.looks or spent,
            stored=stored,
        )
        if decision.next_look is not None:
            return None
        ended = ", the budget ended" if spent and not decision.decided else ""
        return Stop(decision.level, decision.reason + ended)
