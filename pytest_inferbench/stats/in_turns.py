"""The change between two runs that were issued in turns: robust to what disturbs single turns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["group_turns", "trimmed_mean", "turn_variance", "turn_weights"]

#: A pair of turns counts half in which others take this share of the CPU time more on one side than on the other.
_APART = 0.5


def group_turns(sizes: Sequence[int], least: int) -> tuple[tuple[int, ...], ...]:
    """Return successive turns, by number, in groups of at least ``least`` requests each; one group if there are fewer.

    ``sizes``: how many requests each turn has.
    """
    groups: list[tuple[int, ...]] = []
    current: tuple[int, ...] = ()
    for number in range(len(sizes)):
        current = (*current, number)
        if sum(sizes[k] for k in current) >= least:
            groups.append(current)
            current = ()
    if current:
        groups[-1:] = [(*groups[-1], *current)] if groups else [current]
    return tuple(groups)


def turn_weights(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much each pair of turns counts, in (0, 1], from what others took of the CPU time in either.

    ``first``, ``second``: shares in [0, 1], shape (turns,), NaN where that is not known, which counts as nothing. The
    weight is 1 / (1 + ((second - first) / 0.5)^2): that both turns met the same machine counts, for a disturbance that
    both share leaves their ratio nearly as it was. No latency decides about a weight.
    """
    apart = np.nan_to_num(second, nan=0.0) - np.nan_to_num(first, nan=0.0)
    weights: NDArray[np.float64] = 1 / (1 + (apart / _APART) ** 2)
    return weights


def turn_variance(pairs: Sequence[NDArray[np.float64]]) -> tuple[float, float] | None:
    """Return the variance of the change in one turn, and what of the variance of a pair is due to its turns.

    ``pairs``: the changes in each pair, an array of shape (turns,) for each. None if one is not finite, or of one turn.
    """
    if not all(changes.size > 1 and np.isfinite(changes).all() for changes in pairs):
        return None
    each = [float(changes.var(ddof=1)) for changes in pairs]
    explained = [variance / changes.size for variance, changes in zip(each, pairs, strict=True)]
    return float(np.mean(each)), float(np.mean(explained))


def trimmed_mean(values: NDArray[np.float64], weights: NDArray[np.float64], *, share: float = 0.2) -> float:
    """Return the weighted mean of ``values``, shape (n,), n >= 1, without ``share`` of the weight at either end.

    With equal weights it is the trimmed mean (Tukey and McLaughlin 1963), with a ``share`` of 0 the weighted mean. A
    value at an edge of what is left counts in part. Infinite values may be trimmed; if one is left, the result is
    infinite or NaN.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    edges = np.concatenate([[0.0], np.cumsum(weights[order])]) / weights.sum()
    inside = np.clip(edges, share, 1 - share)
    counted = np.diff(inside)
    used = counted > 0
    return float((ordered[used] * counted[used]).sum() / counted[used].sum())
