"""The outcomes of checks, and the value of one comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

__all__ = ["Comparison", "Outcome"]


class Outcome(StrEnum):
    """The outcome of a comparison or of an SLO check; the value is the name.

    REGRESSED, IMPROVED, PASS, INCONCLUSIVE, NO_BASELINE belong to comparisons, MET, MISSED, UNCERTAIN to SLOs,
    INVALID (the measurement failed, not the service) to both.
    """

    REGRESSED = "REGRESSED"
    IMPROVED = "IMPROVED"
    PASS = "PASS"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"
    NO_BASELINE = "NO_BASELINE"
    MET = "MET"
    MISSED = "MISSED"
    UNCERTAIN = "UNCERTAIN"

    @classmethod
    def worst(cls, outcomes: Iterable[Outcome]) -> Outcome:
        """Return the most severe of at least one outcome; PASS outranks IMPROVED, because not everything improved."""
        return max(outcomes, key=_GRAVITY.index)


_GRAVITY = (
    Outcome.IMPROVED,
    Outcome.PASS,
    Outcome.MET,
    Outcome.NO_BASELINE,
    Outcome.UNCERTAIN,
    Outcome.INCONCLUSIVE,
    Outcome.MISSED,
    Outcome.REGRESSED,
    Outcome.INVALID,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One metric of the candidate against the reference.

    ``reference`` and ``candidate`` are the estimates over the paired runs in the metric's own unit (seconds, per
    second, fraction); ``ratio`` is candidate / reference and ``interval`` the two-sided 1 - 2 alpha interval of
    that ratio, except for ``error_rate``, whose interval is that of the difference candidate - reference.
    ``runs`` and ``requests`` count both sides as given, reference first. ``p_value`` is that of "worse than the
    margin", raw; ``adjusted_p`` is Holm's within a family. ``more_pairs``: how many more pairs would decide an
    INCONCLUSIVE comparison if the noise stays as seen (None: no realistic number, or nothing to decide).
    """

    metric: str
    outcome: Outcome
    ratio: float
    interval: tuple[float, float]
    reasons: tuple[str, ...]
    reference: float
    candidate: float
    pairs: int
    runs: tuple[int, int]
    requests: tuple[int, int]
    margin: float
    alpha: float
    pair_ratios: tuple[float, ...]
    p_value: float
    adjusted_p: float | None = None
    more_pairs: int | None = None
    #: Undecided because the machine changed since the baseline was recorded: more pairs would not tell.
    drifted: bool = False

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"a Comparison has no truth value: {self.metric} is {self.outcome}; look at .outcome "
            f"(`assert compare(...).outcome is Outcome.PASS`)"
        )
