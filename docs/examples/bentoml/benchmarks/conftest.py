import pytest


@pytest.fixture(scope="session")
def inference_payloads():
    """The plugin draws from this list with the seed of the run. The key is the parameter name of the endpoint."""
    return [{"text": "short"}, {"text": "a text that is rather longer than the other one"}]
