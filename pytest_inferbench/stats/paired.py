"""What a handful of paired differences say about their mean. One number per pair; only pairs are replicates."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["PairedMean", "median_interval", "paired_mean", "pairs_to_decide"]

#: Differences that agree to this much are equal: what is left is the rounding of floating-point logarithms.
_ROUNDING = 1e-12

#: From this many pairs on the t bound needs no second opinion.
_ENOUGH = 8


@dataclass(frozen=True, slots=True)
class PairedMean:
    """Inference on the mean of n paired differences; zero is "no change". ``values``: shape (n,), finite, n >= 1.

    Both ends of the interval are Student's t bounds (n - 1 df), except that with fewer than 8 pairs an end which
    excludes "no change" must earn it twice: it stands if the signed ranks (Wilcoxon, which no single odd pair can
    carry) agree at alpha, else it is held to alpha / 2, though never moved past zero. The interval contains the
    plain t interval, so it covers at least as often. Few pairs are where chance makes a standard deviation small
    and so convicts the innocent: false alarms of simulated unchanged services fall by a third to a half, and power
    hardly moves, because a real change shows in every pair. From 8 pairs on the plain bound already keeps it.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or not all(math.isfinite(value) for value in self.values):
            raise ValueError("paired differences must be finite, and at least one")

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean difference."""
        return math.fsum(self.values) / self.n

    @property
    def sd(self) -> float:
        """Standard deviation of the differences (n - 1); 0 where they differ by rounding only."""
        if self.n < 2:
            return 0.0
        sd = math.sqrt(math.fsum((value - self.mean) ** 2 for value in self.values) / (self.n - 1))
        return sd if sd > _ROUNDING * max(1.0, abs(self.mean)) else 0.0

    @property
    def se(self) -> float:
        """Standard error of the mean."""
        return self.sd / math.sqrt(self.n)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the two-sided 1 - 2 alpha interval of the mean (conservative, see the class)."""
        if self.n < 2:
            return -math.inf, math.inf
        return self._lower(alpha), -self._mirror()._lower(alpha)

    def p_above(self, threshold: float) -> float:
        """Return the one-sided p-value of "the mean is at most ``threshold``", 0 or more: the least alpha whose
        interval lies above it."""
        if threshold < 0:
            raise ValueError("p_above judges a change for the worse: the threshold must not be negative")
        if self.n < 2:
            return 1.0
        t = self._t_p(threshold)
        if self.n >= _ENOUGH:
            return t
        return min(1.0, 2 * t, max(t, _signed_rank_p(np.array(self.values) - threshold)))

    def p_below(self, threshold: float) -> float:
        """Return the one-sided p-value of "the mean is at least ``threshold``", which must be 0 or less."""
        return self._mirror().p_above(-threshold)

    def _mirror(self) -> PairedMean:
        return PairedMean(tuple(-value for value in self.values))

    def _t_p(self, threshold: float) -> float:
        gap = self.mean - threshold
        if self.se == 0:
            return 0.0 if gap > _ROUNDING else 1.0
        return float(special.stdtr(self.n - 1, -gap / self.se))

    def _lower(self, alpha: float) -> float:
        plain = self.mean - _t_quantile(alpha, self.n - 1) * self.se
        if plain <= 0 or self.n >= _ENOUGH:
            return plain
        strict = self.mean - _t_quantile(alpha / 2, self.n - 1) * self.se
        ranks = _signed_rank_bound(np.array(self.values), alpha)
        return max(0.0, min(plain, max(strict, ranks)))


def paired_mean(differences: NDArray[np.float64]) -> PairedMean:
    """Return inference on finite paired differences, shape (n,), n >= 1."""
    return PairedMean(tuple(float(value) for value in differences))


def _t_quantile(alpha: float, df: int) -> float:
    """Return the value that Student's t exceeds with probability ``alpha``."""
    return -float(special.stdtrit(df, alpha))


def _walsh(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the n (n + 1) / 2 averages of two values, each with itself too, in ascending order."""
    rows, columns = np.triu_indices(values.size)
    return np.sort((values[rows] + values[columns]) / 2)


@lru_cache(maxsize=64)
def _signed_rank_cdf(n: int) -> tuple[float, ...]:
    """Return P(W <= w) for w = 0 .. n (n + 1) / 2 of Wilcoxon's (1945) signed-rank statistic, exactly."""
    ways = np.ones(1)
    for rank in range(1, n + 1):
        ways = 0.5 * (np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0)))
    return tuple(np.minimum(np.cumsum(ways), 1.0).tolist())


def _signed_rank_p(values: NDArray[np.float64]) -> float:
    """Return the one-sided p-value of "symmetric about zero or less"; a Walsh average of zero counts against."""
    against = int((_walsh(values) <= _ROUNDING).sum())
    return _signed_rank_cdf(values.size)[against]


def _signed_rank_bound(values: NDArray[np.float64], alpha: float) -> float:
    """Return the lower 1 - alpha bound of the centre: the Walsh average that the test inverts to (Tukey 1949)."""
    k = bisect_right(_signed_rank_cdf(values.size), alpha)
    return float(_walsh(values)[k - 1]) if k else -math.inf


def median_interval(differences: NDArray[np.float64], alpha: float) -> tuple[float, float, float]:
    """Return (median, low, high) of differences that may be infinite: what is left when a mean is not defined.

    Order statistics bound the median without any assumption (the sign test inverted): with X ~ Bin(n, 1/2), the
    k-th smallest value is a lower 1 - alpha bound if P(X < k) <= alpha. With fewer than log2(1 / alpha) values
    there is none, and that end is infinite.
    """
    ordered = np.sort(differences)
    n = ordered.size
    k = int(np.count_nonzero(np.asarray(special.bdtr(np.arange(n), n, 0.5)) <= alpha))
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
    strict = (estimate.mean > threshold) & (sizes < _ENOUGH)
    half = -special.stdtrit(sizes - 1, np.where(strict, alpha / 2, alpha)) * estimate.sd / np.sqrt(sizes)
    enough = np.flatnonzero(half < gap)
    return int(sizes[enough[0]]) - estimate.n if enough.size else None
