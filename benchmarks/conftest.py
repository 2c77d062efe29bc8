"""Joins the shipped service to the plugin: what its requests carry."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from service.text.payloads import texts_by_token_length

MEDIAN_TOKENS, P95_TOKENS, MAX_TOKENS = 24, 64, 128


#: Log standard deviation; 1.6449 is the 95th percentile of a standard normal.
SIGMA = math.log(P95_TOKENS / MEDIAN_TOKENS) / 1.6449


def texts_like_the_benchmarks(count: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """Texts whose lengths in tokens are log-normal: median 24, 95th percentile 64, at most 128."""
    lengths = np.rint(rng.lognormal(math.log(MEDIAN_TOKENS), SIGMA, count)).astype(int).clip(3, MAX_TOKENS)
    return [{"text": text} for text in texts_by_token_length(lengths.tolist(), seed=int(rng.integers(2**31)))]


@pytest.fixture(scope="session")
def inference_payloads() -> Callable[[int, np.random.Generator], list[dict[str, str]]]:
    """The same for every profile."""
    return texts_like_the_benchmarks
