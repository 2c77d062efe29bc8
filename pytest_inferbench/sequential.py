"""Start with few pairs and add more only while undecided, at an error rate that holds under this peeking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_inferbench.comparison import Comparison, compare_family
from pytest_inferbench.errors import ValidationError
from pytest_inferbench.outcome import Outcome
from pytest_inferbench.pairing import Side
from pytest_inferbench.stats.sequential import nominal_levels

__all__ = ["LOOKS", "SequentialDecision", "sequential_decision"]

#: Numbers of pairs after which to look, planned before the first boot.
LOOKS = (3, 5, 8, 12)


@dataclass(frozen=True, slots=True)
class SequentialDecision:
    """What a look found. ``comparisons``: one per metric, their ``alpha`` the level of this look. ``next_look``: run
    until there are so many pairs and decide again; None if this is the end, decided or not."""

    comparisons: tuple[Comparison, ...]
    next_look: int | None
    level: float
    reason: str

    @property
    def decided(self) -> bool:
        """Whether a regression was found, or every metric has an answer."""
        outcomes = {comparison.outcome for comparison in self.comparisons}
        return Outcome.REGRESSED in outcomes or Outcome.INCONCLUSIVE not in outcomes


def sequential_decision(
    reference: Side,
    candidate: Side,
    *,
    metrics: Sequence[str],
    margin: float = 0.05,
    alpha: float = 0.05,
    looks: Sequence[int] = LOOKS,
    final: bool = False,
    stored: bool = False,
) -> SequentialDecision:
    """Judge all pairs so far at the level of this look, and say whether to go on.

    ``looks`` must be fixed before the data, and the caller must look at every one of them in turn, with all pairs
    recorded so far. ``final``: no more pairs will come (the budget has ended, which must not depend on what the
    data say): what is left of alpha is spent now, at whatever number of pairs there is. The intervals of all looks
    hold together with probability 1 - 2 alpha (repeated confidence intervals, Jennison and Turnbull 1989), so a
    stop at a good moment gains nothing. ``stored`` as of `compare`.
    """
    plan = tuple(looks)
    comparisons = compare_family(reference, candidate, metrics=metrics, margin=margin, alpha=alpha, stored=stored)
    pairs = comparisons[0].pairs
    past = tuple(n for n in plan if n < pairs)
    if not final and pairs not in plan:
        raise ValidationError(
            f"{pairs} pairs are no planned look ({', '.join(map(str, plan))}); pass final=True to end"
        )
    if pairs < 2:
        return SequentialDecision(comparisons, None, alpha, "fewer than two pairs: nothing to decide by")
    ending = (*past, pairs) if final else plan
    try:
        level = nominal_levels(ending, alpha)[len(past)]
    except ValueError as error:
        raise ValidationError(str(error)) from error
    comparisons = compare_family(reference, candidate, metrics=metrics, margin=margin, alpha=level, stored=stored)
    upcoming = None if final else next((n for n in plan if n > pairs), None)
    where = f"look {len(past) + 1} of {len(ending)} ({pairs} pairs) at a level of {level:.2%}"
    decision = SequentialDecision(comparisons, None, level, where)
    if decision.decided:
        return replace(decision, reason=f"decided at {where}")
    if upcoming is None:
        return replace(decision, reason=f"undecided at the last {where}")
    return replace(decision, next_look=upcoming, reason=f"undecided at {where}: on to {upcoming} pairs")
