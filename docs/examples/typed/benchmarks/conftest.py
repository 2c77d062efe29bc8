from collections.abc import Callable, Sequence

import numpy as np
import pytest

from pytest_inferbench import Target

Payload = dict[str, str]
WORDS = ("the", "service", "answered", "quickly", "and", "the", "answer", "was", "right")


@pytest.fixture(scope="session")
def inference_target() -> Target:
    """Requests carry a token."""
    return Target("/classify", headers={"authorization": "Bearer local"})


@pytest.fixture(scope="session")
def inference_payloads() -> Callable[[int, np.random.Generator], Sequence[Payload]]:
    """Texts of one to nine words, drawn with the seed of the run."""

    def payloads(count: int, rng: np.random.Generator) -> list[Payload]:
        return [{"text": " ".join(WORDS[:length])} for length in rng.integers(1, 10, count)]

    return payloads
