"""The service, with the tiny model, under input that nobody planned: a small version of benchmarks/test_fuzz.py."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import httpx
import pytest
from conftest import OPTIMIZED, Served
from hypothesis import HealthCheck, example, given, settings

from pytest_inferbench.strategies import Body, blank_texts, hostile_bodies, texts

FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
VALID = {"text": "A wonderful phone."}


@pytest.fixture(scope="module", params=["baseline", "optimized"])
def client(request: pytest.FixtureRequest, served: Callable[..., Served]) -> Iterator[httpx.Client]:
    """The service, which must still be the same process and still answer when the module is through with it."""
    service = served(None if request.param == "baseline" else OPTIMIZED)
    yield service.client
    assert service.process.poll() is None
    assert service.client.post("/classify", json=VALID).status_code == 200


@FUZZ
@given(text=texts())
@example(text="\0")
@example(text="a" * 100_000)
def test_every_text_gets_an_answer(client: httpx.Client, text: str) -> None:
    """Proves that no character, script or length makes a text that is neither blank nor too long fail."""
    response = client.post("/classify", json={"text": text})
    assert response.status_code == 200, response.text
    assert sum(response.json()["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)


@FUZZ
@given(text=blank_texts())
def test_blank_texts_are_refused(client: httpx.Client, text: str) -> None:
    """Proves that white space of any kind is refused with a message."""
    response = client.post("/classify", json={"text": text})
    assert (response.status_code, bool(response.json()["error"])) == (400, True)


@FUZZ
@given(body=hostile_bodies(VALID, huge=3_000_000))
def test_hostile_bodies_are_refused_with_a_message(client: httpx.Client, body: Body) -> None:
    """Proves that what is wrong with a body is said with a 4xx, never a 5xx or a stack trace."""
    response = client.post("/classify", content=body.content, headers={"Content-Type": body.content_type})
    assert response.status_code < 500, response.text
    if body.expected == "refused":
        assert response.status_code >= 400
    if response.status_code >= 400:
        assert response.json()["error"]
    assert "Traceback" not in response.text


def test_a_request_that_breaks_off_harms_nobody(client: httpx.Client) -> None:
    """Proves that a client which promises more than it sends, and leaves, costs the next one nothing."""
    url = httpx.URL(client.base_url)
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    for sent in (b"", b"POST /cl", head, head + b'{"text": "a'):
        with socket.create_connection((url.host, url.port)) as connection:
            connection.sendall(sent)
    assert client.post("/classify", json=VALID).status_code == 200
