"""Whether the machine itself changed since a baseline was recorded, and which verdicts that leaves standing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pytest_inferbench.judgement.estimate import PERCENTILES
from pytest_inferbench.judgement.outcome import Comparison, Outcome
from pytest_inferbench.judgement.validity import Finding
from pytest_inferbench.runs.run import Run
from pytest_inferbench.stats.combined import Combined, mean_of
from pytest_inferbench.stats.quantiles import quantile, smooth_quantiles
from pytest_inferbench.stats.replay import ReplayedQueue, log_factor_that_gives, mm1_log_change, mm1_log_factor, replay

__all__ = ["MachineDrift", "discount", "machine_drift", "machine_that_explains"]

#: CPU time per answer, as a share of a usual latency: a service that computes for less of it waits for something else.
_COMPUTING = 0.1
#: Of a slowdown of the machine that is beyond chance so much more is granted: a service need not be slowed as much as
#: the reference computation is.
_SENSITIVE = 1.0
#: The level, as a share of alpha, at which the machine's change must be excluded as the explanation.
_LEVEL = 0.5
#: A logarithm of a factor that stands for any: a machine that takes so much longer, or less, is no machine any more.
_LOST = 20.0


@dataclass(frozen=True, slots=True)
class MachineDrift:
    """How long the reference computation takes now, as a logarithm of the ratio to what it took when the reference's
    runs were measured: the difference of two independent means over runs (Welch). ``alpha``: one-sided."""

    log: Combined
    alpha: float

    @property
    def ratio(self) -> float:
        """More than 1 on a machine that is slower now."""
        return math.exp(self.log.value)

    @property
    def interval(self) -> tuple[float, float]:
        """Two-sided, 1 - 2 alpha."""
        low, high = self.log.interval(self.alpha)
        return _exp(low), _exp(high)

    @property
    def slower(self) -> bool:
        """Whether the machine is slower now beyond chance."""
        return self.interval[0] > 1

    def faster(self, margin: float) -> bool:
        """Whether the machine is faster now by more than ``margin`` beyond chance."""
        return self.interval[1] < 1 / (1 + margin)

    @property
    def granted(self) -> Combined:
        """The slowdown that the service may owe to the machine: as measured, and what of it is beyond chance again."""
        beyond = max(0.0, self.log.interval(self.alpha)[0])
        return replace(self.log, value=self.log.value + _SENSITIVE * beyond)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What to report of it: nothing as long as the machine may be as it was."""
        low, high = self.interval
        if low <= 1 <= high:
            return ()
        word = "slower" if self.slower else "faster"
        return (
            Finding(
                rule="machine",
                kind="machine",
                message=f"it is {word} than when the baseline was recorded: the reference computation takes "
                f"x{self.ratio:.3f} ({low:.3f} to {high:.3f}) as long",
                value=self.ratio,
                limit=1.0,
                recommendation="measure the recorded revision too (--inferbench-control), compare in one session "
                "(--against), or record it here again (--update-baselines)",
            ),
        )


def machine_drift(reference: Sequence[Run], candidate: Sequence[Run], *, alpha: float) -> MachineDrift | None:
    """Return how the machine's speed moved between two series of runs, which it does not matter how they are paired.

    None where it is not known of two runs of each, or does not matter: the service hardly computes here.
    """
    if not _computes(reference, candidate):
        return None
    before, after = (
        np.log([run.calibration_ns for run in side if run.calibration_ns is not None], dtype=np.float64)
        for side in (reference, candidate)
    )
    if min(before.size, after.size) < 2:
        return None
    return MachineDrift(mean_of(after).minus(mean_of(before)), alpha)


def _computes(reference: Sequence[Run], candidate: Sequence[Run]) -> bool:
    """Return whether a good part of a usual answer is CPU time of the service; True where that was not measured."""
    used = [run.resources.service.cpu_seconds for run in candidate if run.resources and run.resources.service]
    answers = sum(int((~run.failed).sum()) for run in candidate)
    if len(used) < len(candidate) or not answers:
        return True
    usual = quantile(np.concatenate([run.latencies for run in reference]), 0.5)
    return not math.isfinite(usual) or sum(used) / answers >= _COMPUTING * usual


def discount(
    check: Comparison, drift: MachineDrift | None, reference: Sequence[Run], *, explains: Combined | None = None
) -> Comparison:
    """Return ``check`` with INCONCLUSIVE for what the machine's own change may explain; not that of an error rate.

    ``reference``: the paired runs of the reference, in the order of ``check.pair_ratios``. ``explains``: what
    `machine_that_explains` returns for them, where that is known already.

    REGRESSED stands if a machine that explains the change alone is excluded at half of alpha, as a difference of two
    logarithms of the machine's speed with one standard error (Welch), and if what is left of the change on the machine
    as it is granted is above the margin. On a machine that got faster by more than the margin beyond chance, PASS and
    IMPROVED stand only if they would without that.
    """
    if drift is None or check.metric == "error_rate" or not reference:
        return check
    limit = math.log1p(check.margin)
    if check.outcome is Outcome.REGRESSED:
        explains = machine_that_explains(check, reference) if explains is None else explains
        if explains is None:
            return check
        excluded = explains.minus(drift.granted).interval(_LEVEL * check.alpha)[0] > 0
        if excluded and _left(check, reference, drift.granted.value) > limit:
            return check
        low, high = drift.interval
        reason = (
            f"the machine's reference computation takes x{drift.ratio:.3f} ({low:.3f} to {high:.3f}) as long now, and "
            f"it is not excluded that one at x{_exp(explains.value):.3f} explains the change alone"
        )
    elif check.outcome in (Outcome.PASS, Outcome.IMPROVED) and drift.faster(check.margin):
        if _below(machine_that_explains(check, reference, but=-limit), drift, check.alpha):
            return check
        if _below(machine_that_explains(check, reference, but=limit), drift, check.alpha):
            return replace(check, outcome=Outcome.PASS)
        reason = "a machine that is so much faster may hide a regression"
    else:
        return check
    return replace(check, outcome=Outcome.INCONCLUSIVE, reasons=(reason, *check.reasons), more_pairs=None, drifted=True)


def machine_that_explains(check: Comparison, reference: Sequence[Run], *, but: float = 0.0) -> Combined | None:
    """Return log f, over the pairs, of a machine that takes f times as long and so explains the change alone.

    ``but``: all of the change but this logarithm. Each pair's run of the reference is replayed; where a replay does
    not tell the metric, the formula of an M/M/1 queue stands in. None: fewer than two pairs tell anything.
    """
    logs = [_log_factor(check.metric, queue, change - but) for queue, change in _changes(check, reference)]
    return mean_of(np.array(logs)) if len(logs) > 1 else None


def _below(explains: Combined | None, drift: MachineDrift, alpha: float) -> bool:
    """Return whether the machine took more of the change than ``explains``, beyond chance."""
    return explains is not None and explains.minus(drift.log).interval(alpha)[1] < 0


def _left(check: Comparison, reference: Sequence[Run], log_factor: float) -> float:
    """Return the mean log change that is left on a machine that takes exp(``log_factor``) times as long."""
    changes = _changes(check, reference)
    left = [max(change, -_LOST) - _explained(check.metric, queue, log_factor) for queue, change in changes]
    return math.fsum(left) / len(left)


def _changes(check: Comparison, reference: Sequence[Run]) -> list[tuple[ReplayedQueue | None, float]]:
    """Return each pair's queue (None: a closed loop) and log change for the worse, without those that are undefined."""
    queues = [None if run.closed_loop else replay(run.scheduled_ns / 1e9, run.latencies) for run in reference]
    if len(queues) != len(check.pair_ratios):  # a check of other runs than these: their usual utilisation stands in
        open_loops = sorted((q for q in queues if q is not None), key=lambda q: q.utilisation)
        queues = [open_loops[len(open_loops) // 2] if open_loops else None] * len(check.pair_ratios)
    sign = -1 if check.metric == "throughput" else 1
    changes = [sign * _log(ratio) for ratio in check.pair_ratios]
    return [(queue, change) for queue, change in zip(queues, changes, strict=True) if not math.isnan(change)]


def _log_factor(metric: str, queue: ReplayedQueue | None, change: float) -> float:
    """Return log f for one pair: whose metric, on a machine that takes f times as long, changes by ``change``."""
    change = max(change, -_LOST)
    if queue is None:  # a closed loop waits for each answer: there is no queue that multiplies
        return min(change, _LOST)
    figure = _figure(metric, queue)
    if figure is None or math.isinf(change):
        return min(mm1_log_factor(change, queue.utilisation), _LOST)
    return log_factor_that_gives(figure, change)


def _explained(metric: str, queue: ReplayedQueue | None, log_factor: float) -> float:
    """Return the log change of one pair's metric on a machine that takes exp(``log_factor``) times as long."""
    if queue is None:
        return log_factor
    figure = _figure(metric, queue)
    return mm1_log_change(log_factor, queue.utilisation) if figure is None else figure(math.exp(log_factor))


def _figure(metric: str, queue: ReplayedQueue) -> Callable[[float], float] | None:
    """Return the log ratio of the metric as a function of f; None where a replay does not tell it."""
    if metric in PERCENTILES:
        p = PERCENTILES[metric]
        if math.isinf(quantile(queue.latencies, p)):
            return None
        return lambda f: _log_of(*smooth_quantiles(queue.latencies, queue.slowed(f), p))
    if metric == "mean" and queue.answered.size == queue.latencies.size:
        return lambda f: _log_of(float(queue.latencies.mean()), float(queue.slowed(f).mean()))
    if metric == "throughput" and queue.answered.size:
        begun = float(queue.arrivals[0])
        return lambda f: _log_of(_last(queue, 1.0) - begun, _last(queue, f) - begun)
    return None


def _last(queue: ReplayedQueue, factor: float) -> float:
    """Return when the last good answer came."""
    return float((queue.arrivals + queue.slowed(factor))[queue.answered].max())


def _log_of(before: float, after: float) -> float:
    return math.log(after / before)


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf if ratio == 0 else math.nan


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
