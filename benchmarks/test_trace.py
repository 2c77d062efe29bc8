"""Production arrivals with production sizes: a window of a recorded trace, replayed against the service.

The trace is a CSV file with a timestamp and a number of tokens per request, such as the Azure LLM inference trace 2023
(CC BY 4.0, https://github.com/Azure/AzurePublicDataset). ``INFERBENCH_TRACE`` says where it lies; without it there is
nothing to replay.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from pytest_inferbench import SLO, read_trace
from service.text.payloads import texts_by_token_length

TRACE = os.environ.get("INFERBENCH_TRACE")
WINDOW_SECONDS = 30
MAX_TOKENS = 128  #: the prompts of a chat are longer than anything whose sentiment is asked for

PRODUCTION = SLO(p95="1s", error_rate="1%")


def texts_of(count: int, rng: np.random.Generator, sizes: tuple[int, ...]) -> list[dict[str, str]]:
    """Texts of so many tokens each, cut at MAX_TOKENS."""
    lengths = [min(max(size, 3), MAX_TOKENS) for size in sizes]
    return [{"text": text} for text in texts_by_token_length(lengths, seed=int(rng.integers(2**31)))]


@pytest.mark.skipif(TRACE is None, reason="INFERBENCH_TRACE does not name a trace to replay")
async def test_production_arrivals(inference_service, workload):
    trace = read_trace(str(TRACE), size="ContextTokens").window(600, WINDOW_SECONDS)
    production = workload("production", trace, duration=WINDOW_SECONDS, payloads=texts_of)
    measurement = await production.measure(inference_service)
    assert measurement.meets(PRODUCTION)
