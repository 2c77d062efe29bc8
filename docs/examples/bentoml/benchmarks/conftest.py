import pytest


@pytest.fixture(scope="session")
def inference_payloads():
    """A list is drawn from with the seed of the run. The key is the parameter of the endpoint."""
    return [{"text": "short"}, {"text": "a text that is rather longer than the other one"}]
