"""What a test asserts: the outcome of all checks of one subject, and its explanation in plain words."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.comparison import Comparison, compare, compare_family
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.phrases import bound, change, count, figure, margin
from pytest_inferbench.judgement.slo import SloCheck

__all__ = ["Comparison", "Outcome", "SloCheck", "Verdict", "compare", "compare_family", "describe"]

_WIDTH = 100

_FAIL = frozenset({Outcome.REGRESSED, Outcome.INVALID, Outcome.MISSED})
_UNDECIDED = frozenset({Outcome.INCONCLUSIVE, Outcome.UNCERTAIN, Outcome.NO_BASELINE})


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """The outcome of one assertion; true if the test may pass. ``repr`` explains it, within one screen.

    ``checks``: one per metric, none where nothing could be compared (NO_BASELINE, INVALID). ``outcome``: the worst
    of them unless given. ``strict``: undecided outcomes fail too. ``allow_missing``: NO_BASELINE passes even where
    it would not otherwise (pass False under CI). ``recording``: what was measured becomes the new baseline, so that
    a difference to the old one is shown and accepted.
    """

    kind: Literal["slo", "regression", "resilience"]
    subject: str
    checks: tuple[Comparison | SloCheck, ...]
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    strict: bool = False
    allow_missing: bool = True
    recording: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("slo", "regression", "resilience"):
            raise ValidationError(f"a verdict is of kind 'slo', 'regression' or 'resilience', got {self.kind!r}")

    @classmethod
    def of(
        cls,
        kind: Literal["slo", "regression", "resilience"],
        subject: str,
        checks: Sequence[Comparison | SloCheck],
        *,
        outcome: Outcome | None = None,
        reasons: Sequence[str] = (),
        strict: bool = False,
        allow_missing: bool = True,
        recording: bool = False,
    ) -> Verdict:
        """Return the verdict on ``checks``: their worst outcome, or ``outcome`` where that is known otherwise."""
        if outcome is None and len(checks) == 0:
            raise ValidationError(f"a verdict on {subject} needs checks, or the outcome that stands in for them")
        worst = outcome if outcome is not None else Outcome.worst(check.outcome for check in checks)
        return cls(kind, subject, tuple(checks), worst, tuple(reasons), strict, allow_missing, recording)

    @property
    def passed(self) -> bool:
        """Whether the test may pass."""
        if self.recording and self.kind == "regression" and self.outcome is not Outcome.INVALID:
            return True
        if self.outcome is Outcome.NO_BASELINE and not self.allow_missing:
            return False
        return self.outcome not in _FAIL and not (self.strict and self.outcome in _UNDECIDED)

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        lines = [_headline(self)]
        decisive = _decisive(self)
        lines += [_line(check) for check in self.checks]
        for check in self.checks:
            if check.outcome not in (Outcome.PASS, Outcome.MET, Outcome.IMPROVED) or check is decisive:
                lines += [f"{check.metric}: {reason}" for reason in check.reasons[:3]]
        lines += self.reasons[:4]
        lines += _advice(self)
        head, *rest = lines
        return "\n".join([head, *(wrapped for line in rest for wrapped in _wrap(line))])


def describe(check: Comparison | SloCheck) -> str:
    """Return the figures of one check in one line: estimate, interval, limit or margin, n."""
    low, high = check.interval
    if isinstance(check, SloCheck):
        return (
            f"{check.metric} {figure(check.metric, check.estimate)} "
            f"({figure(check.metric, low)} to {figure(check.metric, high)}), "
            f"{bound(check.metric, check.limit)}; n = {check.n} in {count(check.runs, 'run')}"
        )
    before, after = figure(check.metric, check.reference), figure(check.metric, check.candidate)
    if check.metric == "error_rate" or math.isnan(check.ratio):
        moved = _moved(check)
    else:
        moved = f"x{_ratio(check.ratio)} ({_ratio(low)} to {_ratio(high)})"
    return (
        f"{check.metric} {before} -> {after}, {moved}, {margin(check.metric, check.margin)}; "
        f"{count(check.pairs, 'pair')}, n = {check.requests[0]} + {check.requests[1]}"
    )


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value >= 0.1 else f"{value:.3g}"


def _decisive(verdict: Verdict) -> Comparison | SloCheck | None:
    """Return the check that the headline is about: of those with the verdict's outcome, the one farthest off."""
    return max((check for check in verdict.checks if check.outcome is verdict.outcome), key=_distance, default=None)


def _distance(check: Comparison | SloCheck) -> float:
    """Return how far the estimate lies from no change, or from its limit, as a share of it; comparable, not exact."""
    if isinstance(check, SloCheck):
        value = check.estimate / check.limit if check.limit else math.inf
    else:
        value = 1 + check.candidate - check.reference if check.metric == "error_rate" else check.ratio
    return abs(math.log(value)) if 0 < value < math.inf else math.inf


def _headline(verdict: Verdict) -> str:
    """Return outcome, metric and the figures that matter, within the width."""
    check = _decisive(verdict)
    if check is None:
        figures = ""
    elif isinstance(check, SloCheck):
        relation = {Outcome.MET: "within", Outcome.MISSED: "beyond"}.get(check.outcome, "against")
        limit = figure(check.metric, check.limit)
        figures = f": {check.metric} {figure(check.metric, check.estimate)} {relation} {limit}"
    else:
        figures = f": {check.metric} {_moved(check)}, {margin(check.metric, check.margin)}"
    line = f"{verdict.outcome}{figures}: {verdict.subject}"
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"


def _moved(check: Comparison) -> str:
    return change(check.metric, check.ratio, *check.interval, difference=check.candidate - check.reference)


def _line(check: Comparison | SloCheck) -> str:
    family = ""
    if isinstance(check, Comparison) and check.adjusted_p is not None:
        family = f"; p {check.p_value:.2g}, Holm {check.adjusted_p:.2g}"
    return f"{check.outcome:<12} {describe(check)}{family}"


def _advice(verdict: Verdict) -> list[str]:
    if verdict.recording and verdict.kind == "regression" and verdict.outcome is not Outcome.INVALID:
        return ["Accepted: this measurement is being recorded as the new baseline."]
    if verdict.outcome is Outcome.INCONCLUSIVE:
        if any(isinstance(check, Comparison) and check.drifted for check in verdict.checks):
            return [
                "To decide: measure the recorded revision too (--inferbench-control), compare in one session "
                "(--against), or record it here again (--update-baselines)."
            ]
        more = [c.more_pairs for c in verdict.checks if isinstance(c, Comparison) and c.more_pairs is not None]
        if more:
            return [f"To decide: {count(max(more), 'more pair')} (raise the repeats or the budget), or a lower rate."]
        return ["To decide: more repeats, longer runs, or a lower rate (queues multiply every noise)."]
    if verdict.outcome is Outcome.REGRESSED:
        return ["If this is meant, record it with --update-baselines; if not, find what changed."]
    if verdict.outcome is Outcome.MISSED:
        return [f"{_excess(verdict)}To find what changed, compare with another profile or revision (--against)."]
    if verdict.outcome is Outcome.NO_BASELINE:
        return ["Record one here with --update-baselines, or compare in one session with --against."]
    if verdict.outcome is Outcome.UNCERTAIN:
        return ["To decide: more repeats (boots) or longer runs."]
    return []


def _excess(verdict: Verdict) -> str:
    """Return by how much the decisive objective is missed, as a sentence; "" where that is no finite share."""
    check = _decisive(verdict)
    if not isinstance(check, SloCheck) or not check.limit or not 0 < check.estimate < math.inf:
        return ""
    share = check.estimate / check.limit
    if share >= 2:
        return f"{check.metric} is {share:.1f} times its limit. "
    return f"{check.metric} is {abs(share - 1):.1%} {'over' if share > 1 else 'under'} its limit. "


def _wrap(line: str) -> list[str]:
    return textwrap.wrap(line, _WIDTH, initial_indent="  ", subsequent_indent="      ") or [""]
