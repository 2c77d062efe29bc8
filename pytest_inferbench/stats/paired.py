"""What a handful of paired differences say about their mean. One number per pair; only pairs are replicates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["PairedMean", "median_interval", "paired_mean", "pairs_to_decide"]

#: Differences that agree to this much are equal: what is left is the rounding of floating-point logarithms.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class PairedMean:
    """The mean of n paired differences, their standard deviation, and inference by Student's t (n - 1 df)."""

    mean: float
    sd: float
    n: int

    @property
    def se(self) -> float:
        """Standard error of the mean."""
        return self.sd / math.sqrt(self.n)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the two-sided 1 - 2 alpha interval of the mean: each end is a one-sided 1 - alpha bound."""
        if self.n < 2:
            return -math.inf, math.inf
        half = float(stats.t.isf(alpha, self.n - 1)) * self.se
        return self.mean - half, self.mean + half

    def p_above(self, threshold: float) -> float:
        """Return the one-sided p-value of "the mean is at most ``threshold``" (small: it is above)."""
        if self.n < 2:
            return 1.0
        gap = self.mean - threshold
        if self.se == 0:
            return 0.0 if gap > _ROUNDING else 1.0
        return float(stats.t.sf(gap / self.se, self.n - 1))

    def p_below(self, threshold: float) -> float:
        """Return the one-sided p-value of "the mean is at least ``threshold``" (small: it is below)."""
        return PairedMean(-self.mean, self.sd, self.n).p_above(-threshold)


def paired_mean(differences: NDArray[np.float64]) -> PairedMean:
    """Summarise finite paired differences, shape (n,), n >= 1."""
    n = int(differences.size)
    mean = float(differences.mean())
    sd = float(differences.std(ddof=1)) if n > 1 else 0.0
    return PairedMean(mean, sd if sd > _ROUNDING * max(1.0, abs(mean)) else 0.0, n)


def median_interval(differences: NDArray[np.float64], alpha: float) -> tuple[float, float, float]:
    """Return (median, low, high) of differences that may be infinite: what is left when a mean is not defined.

    Order statistics bound the median without any assumption (the sign test inverted): with X ~ Bin(n, 1/2), the
    k-th smallest value is a lower 1 - alpha bound if P(X < k) <= alpha. With fewer than log2(1 / alpha) values
    there is none, and that end is infinite.
    """
    ordered = np.sort(differences)
    n = ordered.size
    k = int(np.count_nonzero(np.asarray(stats.binom.cdf(np.arange(n), n, 0.5)) <= alpha))
    middle = float(ordered[(n - 1) // 2]), float(ordered[n // 2])
    opposite = math.isinf(middle[0]) and math.isinf(middle[1]) and middle[0] != middle[1]
    median = math.nan if opposite else middle[0] if middle[0] == middle[1] else 0.5 * (middle[0] + middle[1])
    if k == 0:
        return median, -math.inf, math.inf
    return median, float(ordered[k - 1]), float(ordered[n - k])


def pairs_to_decide(estimate: PairedMean, threshold: float, alpha: float, *, most: int = 1000) -> int | None:
    """Return how many more pairs would put ``threshold`` outside the interval, if the mean and sd stay as they are.

    None if more than ``most`` pairs in all would be needed: the mean lies too close to the threshold.
    """
    gap = abs(estimate.mean - threshold)
    if gap <= _ROUNDING:
        return None
    sizes = np.arange(max(estimate.n, 2), most + 1)
    half = stats.t.isf(alpha, sizes - 1) * estimate.sd / np.sqrt(sizes)
    enough = np.flatnonzero(half < gap)
    return int(sizes[enough[0]]) - estimate.n if enough.size else None
