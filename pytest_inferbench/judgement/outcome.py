"""The outcomes of checks."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

__all__ = ["Outcome"]


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
