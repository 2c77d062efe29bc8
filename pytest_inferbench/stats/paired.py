"""What a handful of runs say about a mean, or about a change between two sides. Only runs are replicates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["MeanEstimate", "mean_of_changes", "mean_of_values", "median_interval", "pairs_to_decide"]

#: Figures that agree to this share of their size are equal: what is left is the rounding of floating-point numbers.
_ROUNDING = 1e-12

#: A preliminary test of "the figures of a pair vary independently" at this level decides how a change is judged
#: where the requests themselves do not show that the pairs share anything.
_AGREEMENT = 0.02


@dataclass(frozen=True, slots=True)
class MeanEstimate:
    """Student's t inference: (mean - truth) / se has ``df`` degrees of freedom. ``n``: runs, or pairs of runs."""

    mean: float
    se: float
    df: float
    n: int

    @property
    def sd(self) -> float:
        """Standard deviation of one run's figure, or of one pair's change."""
        return self.se * math.sqrt(self.n)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the two-sided 1 - 2 alpha interval of the mean; unbounded for n = 1."""
        if self.n < 2:
            return -math.inf, math.inf
        half = -float(special.stdtrit(self.df, alpha)) * self.se
        return self.mean - half, self.mean + half

    def p_above(self, threshold: float) -> float:
        """Return the one-sided p-value of "the mean is at most ``threshold``"."""
        if self.n < 2:
            return 1.0
        gap = self.mean - threshold
        if self.se == 0:
            return 0.0 if gap > _ROUNDING * max(abs(self.mean), abs(threshold)) else 1.0
        return float(special.stdtr(self.df, -gap / self.se))

    def p_below(self, threshold: float) -> float:
        """Return the one-sided p-value of "the mean is at least ``threshold``"."""
        return MeanEstimate(-self.mean, self.se, self.df, self.n).p_above(-threshold)


def mean_of_values(values: NDArray[np.float64]) -> MeanEstimate:
    """Return inference on the mean of figures of single runs, shape (n,), n >= 1, finite: Student's t, n - 1 df.

    It knows no unit and no zero: c times the values have c times the interval, and values moved by c have the
    interval moved by c.
    """
    figures = _finite(values)
    n = figures.size
    variance = _variance(figures, float(np.abs(figures).max()))
    return MeanEstimate(float(figures.mean()), math.sqrt(variance / n), max(n - 1.0, 1.0), n)


def mean_of_changes(
    before: NDArray[np.float64], after: NDArray[np.float64], *, shared: bool | None = None
) -> MeanEstimate:
    """Return inference on the mean of ``after - before``, figures of n pairs of runs, each of shape (n,), finite.

    The estimate is the mean difference; the rule below says how it varies. It looks at how figures vary and
    correlate, never at the difference of their means.

    - ``shared``: the runs of a pair share what moves their figures (schedule, payloads). Their difference varies
      less than two independent runs would, so its own variance counts, with n - 1 degrees of freedom. Where that
      comes out above the variance of two independent runs, the component that pairs share is estimated as negative:
      it is then taken as zero, and the variances of the two sides are added (the usual treatment of variance
      components, Searle, Casella and McCulloch 1992, section 3.5).
    - Not ``shared``: two independent samples, hence Welch's interval (1947), whose degrees of freedom are up to
      2 (n - 1). Pairing would halve them and bring nothing.
    - None: not known. Welch's, unless an F test at 2 % shows that the figures of a pair go together (the variance of
      their sums over that of their differences): then as ``shared``. Sums and differences of normal figures of equal
      variance are independent, so of unshared pairs the test leads one comparison in fifty astray.

    Unit-free as `mean_of_values` is.
    """
    first, second = _finite(before), _finite(after)
    if first.size != second.size:
        raise ValueError(f"pairs need as many figures before as after, got {first.size} and {second.size}")
    n = first.size
    size = float(max(np.abs(first).max(), np.abs(second).max()))
    change = second - first
    paired = _variance(change, size)
    sides = _variance(first, size), _variance(second, size)
    apart = sum(sides)
    together = bool(shared)
    if shared is None and n >= 2:
        together = _variance(first + second, size) > float(special.fdtri(n - 1, n - 1, 1 - _AGREEMENT)) * paired
    if together:
        variance, df = min(paired, apart), n - 1.0
    else:
        variance, df = apart, (apart**2 * (n - 1) / sum(s**2 for s in sides) if apart else n - 1.0)
    return MeanEstimate(float(change.mean()), math.sqrt(variance / n), max(df, 1.0), n)


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    figures = np.asarray(values, dtype=np.float64)
    if figures.ndim != 1 or figures.size == 0 or not np.isfinite(figures).all():
        raise ValueError("figures must be finite, at least one, in one dimension")
    return figures


def _variance(values: NDArray[np.float64], size: float) -> float:
    """Return the sample variance; 0 where the values differ by the rounding of numbers of that ``size`` only."""
    if values.size < 2:
        return 0.0
    variance = float(values.var(ddof=1))
    return variance if math.sqrt(variance) > _ROUNDING * size else 0.0


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


def pairs_to_decide(estimate: MeanEstimate, threshold: float, alpha: float, *, most: int = 1000) -> int | None:
    """Return how many more pairs would put ``threshold`` outside the interval, if the mean and sd stay as they are.

    None if more than ``most`` pairs in all would be needed: the mean lies too close to the threshold.
    """
    gap = abs(estimate.mean - threshold)
    if estimate.n < 2 or gap <= _ROUNDING * max(abs(estimate.mean), abs(threshold)):
        return None
    sizes = np.arange(estimate.n, most + 1)
    df = estimate.df * (sizes - 1) / (estimate.n - 1)
    half = -special.stdtrit(df, alpha) * estimate.sd / np.sqrt(sizes)
    enough = np.flatnonzero(half < gap)
    return int(sizes[enough[0]]) - estimate.n if enough.size else None
