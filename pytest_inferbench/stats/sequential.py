"""Looking more than once: how strict each look must be for the whole to keep its error rate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["nominal_levels"]

_POINTS = 1201


def nominal_levels(looks: Sequence[int], alpha: float) -> tuple[float, ...]:
    """Return the one-sided level of a test at each look, so that all looks together err with probability ``alpha``.

    ``looks``: the numbers of pairs at which the data are tested, increasing, planned before the data. By look n of
    N pairs at most alpha n / N is spent (Lan and DeMets 1983 with the linear spending function); the boundaries
    follow by recursive integration over independent normal increments (Armitage, McPherson and Rowe 1969), and are
    used as levels of t tests (Jennison and Turnbull 2000, section 3.8). Later looks do not change earlier levels
    except through N, so a study cut short may name its last look late.
    """
    plan = tuple(int(n) for n in looks)
    if not plan or plan[0] < 2 or any(b <= a for a, b in itertools.pairwise(plan)):
        raise ValueError(f"looks must be increasing numbers of pairs from 2 on, got {looks!r}")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must lie between 0 and 0.5, got {alpha!r}")
    return _levels(plan, alpha)


@lru_cache(maxsize=64)
def _levels(plan: tuple[int, ...], alpha: float) -> tuple[float, ...]:
    levels: list[float] = []
    density = spread = None
    before = 0
    for n in plan:
        step = math.sqrt(n - before)
        share = alpha * (n - before) / plan[-1]
        # The sum of n standard normals, restricted to paths that have not crossed: on a grid up to the boundary.
        top = 8.5 * math.sqrt(n)
        grid = np.linspace(-top, top, _POINTS)
        if density is None or spread is None:
            now = _normal(grid / step) / step
        else:
            kernel = _normal((grid[:, None] - spread[None, :]) / step) / step
            now = kernel @ density * (spread[1] - spread[0])
        width = grid[1] - grid[0]
        beyond = np.concatenate([np.cumsum(((now[1:] + now[:-1]) / 2 * width)[::-1])[::-1], [0.0]])
        # `beyond` falls along the grid; interpolate where it equals what may be spent at this look.
        boundary = float(np.interp(-math.log(share), -np.log(np.maximum(beyond, 1e-300)), grid))
        levels.append(float(special.ndtr(-boundary / math.sqrt(n))))
        spread = np.linspace(-top, boundary, _POINTS)
        density = np.interp(spread, grid, now)
        density[[0, -1]] /= 2  # trapezoidal rule
        before = n
    return tuple(levels)


def _normal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    density: NDArray[np.float64] = np.exp(-0.5 * values**2) / math.sqrt(2 * math.pi)
    return density
