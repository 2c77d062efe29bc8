"""When a measurement ends: after a fixed number of pairs, or as soon as it is decided, at an error rate that holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_inferbench.errors import ConfigurationError, ValidationError
from pytest_inferbench.judgement.comparison import METRICS, Comparison, compare_family
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.pairing import Runs, pair_up, read_runs
from pytest_inferbench.runs.run import Run
from pytest_inferbench.stats.sequential import nominal_levels

__all__ = ["LOOKS", "Plan", "SequentialDecision", "Stop", "sequential_decision"]

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
    reference: Runs,
    candidate: Runs,
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
        paired = len(pair_up(read_runs(reference, "reference"), read_runs(candidate, "candidate")).pairs)
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
