"""Whether the machine itself changed since a baseline was recorded, and which verdicts that leaves standing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pytest_inferbench.judgement.comparison import Comparison
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.validity import Finding
from pytest_inferbench.runs.run import Run
from pytest_inferbench.stats.paired import mean_of_values
from pytest_inferbench.stats.quantiles import quantile

__all__ = ["Drift", "allow_for", "drift"]

#: At this utilisation it is worked out what a slower machine may make of latencies.
_UTILISATION = 2 / 3
#: CPU time per answer, as a share of a usual latency: a service that computes for less of it waits for something else.
_COMPUTING = 0.1


@dataclass(frozen=True, slots=True)
class Drift:
    """How long a fixed computation takes now, as a ratio to what it took beside the reference's runs.

    ``interval``: two-sided, 1 - 2 alpha, Student's t over ``pairs`` runs of each side.
    """

    ratio: float
    interval: tuple[float, float]
    pairs: int

    @property
    def slower(self) -> bool:
        """Whether the machine is slower now beyond doubt."""
        return self.interval[0] > 1

    def faster(self, margin: float) -> bool:
        """Whether the machine is faster now by more than ``margin`` beyond doubt."""
        return self.interval[1] < 1 / (1 + margin)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is to be said of it: nothing as long as the machine may be as it was."""
        low, high = self.interval
        if low <= 1 <= high:
            return ()
        word = "slower" if self.slower else "faster"
        return (
            Finding(
                rule="machine",
                kind="machine",
                message=f"it is {word} than when the baseline was recorded: a fixed computation takes "
                f"x{self.ratio:.3f} ({low:.3f} to {high:.3f}) as long",
                value=self.ratio,
                limit=1.0,
                recommendation="compare in one session (--against), or record it here again (--update-baselines)",
            ),
        )


def drift(reference: Sequence[Run], candidate: Sequence[Run], *, alpha: float) -> Drift | None:
    """Return how the machine's pace moved between two series of runs.

    None where it is not known of both, or does not matter: the service hardly computes here.
    """
    if not _computes(reference, candidate):
        return None
    paces = [[run.pace_ns for run in side if run.pace_ns is not None] for side in (reference, candidate)]
    logs = [math.log(after / before) for before, after in zip(*paces, strict=False)]
    if len(logs) < 2:
        return None
    change = mean_of_values(np.array(logs))
    low, high = change.interval(alpha)
    return Drift(math.exp(change.mean), (_exp(low), _exp(high)), len(logs))


def _computes(reference: Sequence[Run], candidate: Sequence[Run]) -> bool:
    """Return whether a good part of a usual answer is CPU time of the service; True where that was not measured."""
    used = [run.resources.service.cpu_seconds for run in candidate if run.resources and run.resources.service]
    answers = sum(int((~run.failed).sum()) for run in candidate)
    if len(used) < len(candidate) or not answers:
        return True
    usual = quantile(np.concatenate([run.latencies for run in reference]), 0.5)
    return not math.isfinite(usual) or sum(used) / answers >= _COMPUTING * usual


def allow_for(checks: Sequence[Comparison], moved: Drift | None) -> tuple[Comparison, ...]:
    """Return ``checks`` with INCONCLUSIVE for what the machine's own change may explain; not those of error rates.

    REGRESSED stands only beyond what a queue makes, at a utilisation of two thirds, of a machine that is as slow as
    the upper end of the interval; on one that got faster by more than the margin beyond doubt, PASS and IMPROVED
    stand only if they would without that.
    """
    return tuple(_allow(check, moved) for check in checks) if moved is not None else tuple(checks)


def _allow(check: Comparison, moved: Drift) -> Comparison:
    if check.metric == "error_rate":
        return check
    low, high = check.interval
    if check.metric == "throughput":
        low, high = (math.inf if end == 0 else 1 / end for end in (high, low))
    limit = 1 + check.margin
    if check.outcome is Outcome.REGRESSED:
        explained = limit * _queued(max(1.0, moved.interval[1]))
        if low > explained:
            return check
        much = f"up to x{explained:.3g}" if math.isfinite(explained) else "any slowdown"
        span = f"x{moved.interval[0]:.3f} to x{moved.interval[1]:.3f}"
        reason = f"the machine takes {span} as long now: that may explain {much}"
    elif check.outcome in (Outcome.PASS, Outcome.IMPROVED) and moved.faster(check.margin):
        without = high / moved.interval[0]
        if without < limit:
            return check if without < 1 / limit else replace(check, outcome=Outcome.PASS)
        reason = "a machine that is so much faster may hide a regression"
    else:
        return check
    return replace(check, outcome=Outcome.INCONCLUSIVE, reasons=(reason, *check.reasons), more_pairs=None, drifted=True)


def _queued(slower: float) -> float:
    """Return by what the mean latency grows if each answer takes ``slower`` times as long (M/M/1); inf: saturation."""
    left = 1 - slower * _UTILISATION
    return slower * (1 - _UTILISATION) / left if left > 1e-9 else math.inf


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
