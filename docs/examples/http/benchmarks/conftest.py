import pytest

WORDS = ["the", "service", "answered", "quickly", "and", "the", "answer", "was", "right"]


@pytest.fixture(scope="session")
def inference_payloads():
    """Texts of one to nine words, drawn with the seed of the run: reference and candidate get the same texts."""

    def payloads(count, rng):
        return [{"text": " ".join(WORDS[:length])} for length in rng.integers(1, 10, count)]

    return payloads
