"""One random stream per dimension, all derived from one integer seed."""

from __future__ import annotations

import zlib

import numpy as np

__all__ = ["stream"]


def stream(seed: int, dimension: str) -> np.random.Generator:
    """Return the generator of one dimension (``"arrivals"``, ``"payloads"``) of ``seed``.

    Streams of different dimensions are independent: drawing more payloads never moves an arrival.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(dimension.encode())]))
