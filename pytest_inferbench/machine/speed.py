"""How fast this machine computes at the moment: by the time that a fixed computation takes."""

from __future__ import annotations

import statistics
import time

import numpy as np

__all__ = ["run_reference_computation"]

_ROWS, _WARM, _COUNT = 1024, 2, 7


def run_reference_computation() -> int:
    """Return how long a fixed computation takes now, in nanoseconds: less is faster.

    The median of 7 products of two float32 matrices of 1024 x 1024, by numpy's BLAS on all the threads it has: what a
    model computes with, and more than a core's own cache holds. It compares with itself only, on one kind of machine
    and one version of numpy.
    """
    matrix = np.linspace(-1, 1, _ROWS * _ROWS, dtype=np.float32).reshape(_ROWS, _ROWS)
    product = np.empty_like(matrix)
    taken = []
    for _ in range(_WARM + _COUNT):
        began = time.perf_counter_ns()
        np.matmul(matrix, matrix, out=product)
        taken.append(time.perf_counter_ns() - began)
    return int(statistics.median(taken[_WARM:]))
