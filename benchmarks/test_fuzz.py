"""The real service under hostile and under unusual input, and what a text costs by its length in tokens."""

from __future__ import annotations

import contextlib
import time

import httpx
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings

from pytest_inferbench.fuzz.slowest_payload import find_slowest_payload
from pytest_inferbench.strategies import blank_texts, hostile_bodies, texts, texts_by_tokens
from service.model.tokenizer import obtain
from service.text.payloads import texts_by_token_length

pytestmark = pytest.mark.fuzz

#: Of these tests only: the user's own settings of Hypothesis stay as they are.
FUZZ = settings(max_examples=334, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
EDGES = (3, 16, 32, 64, 128, 256, 513)
QUICK = "Everything was fine."
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def tokens():
    """A function of a text: its number of tokens, truncated by nobody."""
    tokenizer = obtain()
    tokenizer.no_truncation()
    return lambda text: len(tokenizer.encode(text).ids)


@pytest.fixture(scope="module")
def client(inference_service):
    with (
        inference_service.running() as url,
        httpx.Client(base_url=url, timeout=120, trust_env=False) as client,
    ):
        yield client


def post(client, content, kind="application/json"):
    return client.post("/classify", content=content, headers={"Content-Type": kind})


@FUZZ
@given(text=texts())
def test_every_text_gets_an_answer(client, text):
    """Unicode of every script, emoji, controls, nulls and very long words are texts like any other."""
    response = client.post("/classify", json={"text": text})
    assert response.status_code == 200, response.text
    assert sum(response.json()["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)


@FUZZ
@given(text=blank_texts())
def test_blank_texts_are_refused(client, text):
    """Nothing, or nothing but white space, is the client's fault, and it is told why."""
    response = client.post("/classify", json={"text": text})
    assert response.status_code == 400
    assert response.json()["error"]


@FUZZ
@given(body=hostile_bodies({"text": QUICK}))
def test_hostile_bodies_are_refused_with_a_message(client, body):
    """What is wrong is said with a 4xx and no stack trace: never a 5xx, never a connection that breaks."""
    response = post(client, body.content, body.content_type)
    assert response.status_code < 500, response.text
    if body.expected == "refused":
        assert 400 <= response.status_code < 500
    if response.status_code >= 400:
        assert response.json()["error"]
    assert "Traceback" not in response.text


def test_memory_does_not_creep(client, capsys):
    """After 1,000 long texts the service's processes hold no more than after the first 200, but for a few per cent."""
    port = httpx.URL(client.base_url).port
    bodies = [{"text": text} for text in texts_by_token_length(np.resize([32, 128, 512, 500], 200).tolist(), seed=0)]
    held = []
    for _ in range(5):
        for body in bodies:
            assert client.post("/classify", json=body).status_code == 200
        held.append(_resident(port))
    with capsys.disabled():
        print("\n  resident after 200, 400, ... 1000: " + ", ".join(f"{each / MEBIBYTE:.0f} MiB" for each in held))
    assert held[-1] <= 1.05 * held[0]


def test_no_payload_up_to_512_tokens_is_slower_than_the_slo(client, tokens, capsys):
    """A search for a text that is answered too late however often it is sent again; none within the SLO."""

    def seconds(text):
        started = time.perf_counter()
        response = client.post("/classify", json={"text": text})
        return time.perf_counter() - started if response.status_code == 200 else float("inf")

    found = find_slowest_payload(
        texts_by_tokens(tokens, low=3, high=512), seconds, within="1s", control=QUICK, examples=150, key=b"slo"
    )
    with capsys.disabled():
        tight = find_slowest_payload(
            texts_by_tokens(tokens, low=3, high=512), seconds, within="60ms", control=QUICK, examples=60, key=b"tight"
        )
        told = "none" if tight is None else f"{tokens(tight.payload)} tokens: {tight!r}"
        print(f"\n  smallest text beyond 60 ms: {told}")
    assert found is None, found


async def test_the_cost_curve_has_not_grown(inference_service, workload, tokens, capsys):
    """Latency by tokens, from runs whose texts are of every length: no steeper than the reference, no step."""

    def payloads(count, rng):
        lengths = np.rint(np.exp(rng.uniform(np.log(3), np.log(512), count))).astype(int).clip(3, 512)
        return [{"text": text} for text in texts_by_token_length(lengths.tolist(), seed=int(rng.integers(2**31)))]

    # Far from saturation, so that a request waits for no other one and its latency is its own.
    traffic = workload("cost_curve", rate=3, duration=40, payloads=payloads)
    measurement = await traffic.measure(inference_service, size=lambda body: tokens(body["text"]))
    with capsys.disabled():
        print(f"\n  {inference_service.profile}, latency by tokens: {measurement.cost_curve(edges=EDGES)!r}")
    assert measurement.has_not_regressed(metrics=("p50", "p95"), margin="5%")
    assert measurement.curve_has_not_regressed(margin="10%", edges=EDGES)


def _resident(port):
    """Bytes that the processes of the service hold: those who listen on its port, and their children."""
    total = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(c.laddr and c.laddr[1] == port and c.status == "LISTEN" for c in process.net_connections("tcp")):
                total += process.memory_info().rss
    return total
