"""Sums and differences of independent means, each with few observations of its own: one standard error for all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["Combined", "mean_of"]


@dataclass(frozen=True, slots=True)
class Combined:
    """A value and the independent ``parts`` that its variance is the sum of: (variance, degrees of freedom).

    ``interval`` and ``p_above`` are Student's t with the degrees of freedom of Welch (1947) and Satterthwaite (1946):
    (sum of v)^2 / sum of (v^2 / df).
    """

    value: float
    parts: tuple[tuple[float, int], ...]

    @property
    def se(self) -> float:
        """Standard error of the value."""
        return math.sqrt(math.fsum(variance for variance, _ in self.parts))

    @property
    def df(self) -> float:
        """Degrees of freedom; that of the parts together where none of them varies."""
        total = math.fsum(variance for variance, _ in self.parts)
        if total == 0:
            return float(sum(df for _, df in self.parts))
        return total**2 / math.fsum(variance**2 / df for variance, df in self.parts)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the two-sided 1 - 2 alpha interval of the value."""
        half = -float(special.stdtrit(self.df, alpha)) * self.se
        return self.value - half, self.value + half

    def minus(self, other: Combined) -> Combined:
        """Return this value minus an independent one."""
        return Combined(self.value - other.value, (*self.parts, *other.parts))


def mean_of(values: NDArray[np.float64]) -> Combined:
    """Return the mean of independent values, shape (n,), n >= 2, with the variance of that mean."""
    if values.size < 2:
        raise ValueError("a mean with its variance needs at least two values")
    return Combined(float(values.mean()), ((float(values.var(ddof=1)) / values.size, values.size - 1),))
