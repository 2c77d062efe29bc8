"""The latencies of a run as they would have been on a slower machine: its own requests, replayed through one queue."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ReplayedQueue", "log_factor_that_gives", "mm1_log_change", "mm1_log_factor", "replay"]

_CLOSE = 1e-4  # of a logarithm: 0.01 %
_STEPS = 60


@dataclass(frozen=True, slots=True, eq=False)
class ReplayedQueue:
    """One run as a single queue; made by `replay`.

    Between two answers that follow each other the service worked from the later of the earlier answer and the arrival
    of the request whose turn it was: so the answers alone say how much work each took, in whatever order they came
    back. `slowed` lets that work take longer, with the same arrivals, and so knows by how much this very run's queue
    multiplies a slower machine. A service that works on several requests at once, or waits for something that the
    machine does not slow, is multiplied less: what is concluded of it errs on the side of explaining more. Failed
    requests take no work and stay failed.

    ``arrivals`` and ``latencies``: seconds, shape (n,). ``answered``: which requests were, shape (m,), in the order of
    their answers; ``due`` and ``work``: the k-th arrival of those and the seconds that the k-th answer took.
    """

    arrivals: NDArray[np.float64]
    latencies: NDArray[np.float64]
    answered: NDArray[np.intp]
    due: NDArray[np.float64]
    work: NDArray[np.float64]

    def slowed(self, factor: float) -> NDArray[np.float64]:
        """Return the latencies, shape (n,), if all the work had taken ``factor`` times as long; 1 returns them.

        Lindley's recursion in closed form: the wait is the walk of work minus gap above its running minimum.
        """
        slowed = np.full_like(self.latencies, math.inf)
        if self.answered.size:
            work = factor * self.work
            walk = np.concatenate([[0.0], np.cumsum(work[:-1] - np.diff(self.due))])
            ended = self.due + (walk - np.minimum.accumulate(walk)) + work
            slowed[self.answered] = ended - self.arrivals[self.answered]
        return slowed

    @property
    def utilisation(self) -> float:
        """Share of the time from the first arrival to the last in which the service had work; 1 if nothing was
        answered."""
        span = float(self.due[-1] - self.due[0]) if self.due.size else 0.0
        return min(1.0, float(self.work[:-1].sum()) / span) if span > 0 else 1.0


def replay(arrivals: NDArray[np.float64], latencies: NDArray[np.float64]) -> ReplayedQueue:
    """Return the run of these requests as a queue; seconds, each of shape (n,), +inf for a failed request."""
    good = np.flatnonzero(np.isfinite(latencies))
    answers = arrivals[good] + latencies[good]
    by_answer = np.argsort(answers, kind="stable")
    ended, due = answers[by_answer], np.sort(arrivals[good])
    began = np.maximum(due, np.concatenate([[-np.inf], ended[:-1]])) if good.size else due
    return ReplayedQueue(arrivals, latencies, good[by_answer], due, ended - began)


def log_factor_that_gives(change: Callable[[float], float], wanted: float) -> float:
    """Return log f, to 0.01 %, for which ``change(f)``, a rising function with change(1) = 0, is ``wanted``.

    ``change`` returns a log ratio. A queue multiplies: log f lies between 0 and ``wanted``, and where ``change``
    does not reach that far, it is ``wanted``. (Regula falsi with the Illinois modification.)
    """
    if wanted == 0:
        return 0.0
    low, high = min(0.0, wanted), max(0.0, wanted)
    at_low, at_high = (change(math.exp(end)) - wanted if end else -wanted for end in (low, high))
    if at_low >= 0 or at_high <= 0:
        return wanted
    last = 0
    for _ in range(_STEPS):
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        found = change(math.exp(middle)) - wanted
        if abs(found) < _CLOSE:
            return middle
        if found < 0:
            low, at_low = middle, found
            at_high /= 2 if last < 0 else 1
            last = -1
        else:
            high, at_high = middle, found
            at_low /= 2 if last > 0 else 1
            last = 1
    return middle


def mm1_log_change(log_factor: float, utilisation: float) -> float:
    """Return log of f (1 - u) / (1 - f u): by what the mean latency of an M/M/1 queue at utilisation u grows if all
    work takes f times as long; infinite from saturation on."""
    left = 1 - math.exp(min(log_factor, 700.0)) * utilisation
    return log_factor + math.log((1 - utilisation) / left) if left > 0 and utilisation < 1 else math.inf


def mm1_log_factor(wanted: float, utilisation: float) -> float:
    """Return log f for which `mm1_log_change` is ``wanted``; for an infinite one that of saturation, f = 1 / u."""
    share = (1 - utilisation) * math.exp(-max(wanted, -700.0)) + utilisation
    return -math.log(share) if share > 0 else math.inf
