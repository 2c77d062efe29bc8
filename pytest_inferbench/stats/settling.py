"""Does a service still get faster? Two blocks of the same requests, one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata, trim_mean

__all__ = ["SpeedUp", "speed_up"]

#: Of the pairs at each end, what the estimate leaves out: a pause of the machine is no trend.
_TRIMMED = 0.1
#: The test is exact up to so many pairs; beyond, the normal approximation is right to three digits.
_EXACT_PAIRS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedUp:
    """How much faster the later of two blocks was.

    ``ratio``: later over earlier, below 1 if it was faster. ``p``: how probable so much of a speed-up is where nothing
    changed. ``pairs``: how many requests succeeded in both blocks; with none of them ``ratio`` is NaN and ``p`` 1.
    """

    ratio: float
    p: float
    pairs: int

    def beyond(self, *, ratio: float, p: float) -> bool:
        """Return whether the later block was faster than by ``ratio`` (below 1), and by more than chance at ``p``."""
        return self.ratio < ratio and self.p < p


def speed_up(earlier: NDArray[np.float64], later: NDArray[np.float64]) -> SpeedUp:
    """Compare two blocks, shape (n,): seconds above zero, position i in both the same request; NaN where it failed.

    The test is Wilcoxon's signed-rank test (1945), one-sided, of the logarithm of the ratio of each pair. If the
    service does not change, the two times of a pair may be exchanged: the ratio is symmetric about 1 whatever law the
    times have, and however they depend on the request, so the test holds its level for heavy tails and for two modes
    alike. The ratio is the geometric mean of those of the pairs without the smallest and the largest tenth.
    """
    differences = np.log(later) - np.log(earlier)
    differences = differences[~np.isnan(differences)]
    pairs = int(differences.size)
    if not pairs:
        return SpeedUp(ratio=math.nan, p=1.0, pairs=0)
    ratio = math.exp(float(trim_mean(differences, _TRIMMED)))
    return SpeedUp(ratio=ratio, p=_p(differences), pairs=pairs)


def _p(differences: NDArray[np.float64]) -> float:
    """Return the one-sided p-value of the signed-rank test, given the ranks as they are, ties and all."""
    moved = differences[differences != 0]
    if not moved.size:
        return 1.0
    # Twice the ranks: those of ties are halves, and whole numbers can be counted.
    ranks = np.rint(2 * rankdata(np.abs(moved))).astype(np.int64)
    seen = int(ranks[moved > 0].sum())
    if moved.size > _EXACT_PAIRS:
        deviation = math.sqrt(float((ranks**2).sum()) / 4)
        return float(norm.cdf((seen - float(ranks.sum()) / 2) / deviation))
    # How probable each sum of the ranks is if every sign is a toss of a coin.
    chances = np.zeros(int(ranks.sum()) + 1)
    chances[0] = 1.0
    for rank in ranks.tolist():
        chances[rank:] = (chances[rank:] + chances[:-rank]) / 2
        chances[:rank] /= 2
    return float(chances[: seen + 1].sum())
