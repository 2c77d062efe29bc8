"""Proportions and families of tests."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import special

__all__ = ["clopper_pearson", "holm"]


def clopper_pearson(successes: float, n: float, alpha: float) -> tuple[float, float]:
    """Return the exact two-sided 1 - 2 alpha interval of a proportion (Clopper and Pearson 1934).

    Effective numbers need not be whole (Korn and Graubard 1998).
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a proportion")
    low = 0.0 if successes == 0 else float(special.betaincinv(successes, n - successes + 1, alpha))
    high = 1.0 if successes == n else float(special.betainccinv(successes + 1, n - successes, alpha))
    return low, high


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return Holm's (1979) adjusted p-values in the order given: the family-wise error stays at alpha."""
    m = len(p_values)
    adjusted = [1.0] * m
    running = 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)
