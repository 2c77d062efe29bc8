"""The real BentoML service, booted as the plugin boots it, under the plainest and the fastest profile."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import BASELINE, OPTIMIZED, ROOT, Served, free_port, serve_command, service_environment

BENTOML = {**OPTIMIZED, "name": "bentoml", "service": {**OPTIMIZED["service"], "batcher": "bentoml"}}
PROFILES = {"baseline": BASELINE, "optimized": OPTIMIZED, "bentoml": BENTOML}


@pytest.fixture(scope="module", params=list(PROFILES))
def service(request: pytest.FixtureRequest, served: Callable[..., Served]) -> Served:
    return served(PROFILES[request.param])


def _classify(service: Served, text: str) -> httpx.Response:
    return service.client.post("/classify", json={"text": text})


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Everything about the phone is wonderful. I love it.", "positive"),
        ("The hotel was terrible and filthy. I want a refund.", "negative"),
        ("The invoice was filed by number. See page seven.", "neutral"),
    ],
)
def test_classify_answers(service: Served, text: str, label: str) -> None:
    """Proves the shape of an answer, and that it is the right one, under each profile."""
    response = _classify(service, text)
    assert response.status_code == 200
    body = response.json()
    assert body["label"] == label
    assert set(body["probabilities"]) == {"negative", "neutral", "positive"}
    assert sum(body["probabilities"].values()) == pytest.approx(1.0)
    assert body["score"] == body["probabilities"][label] == max(body["probabilities"].values())


def test_server_timing_is_sent(service: Served) -> None:
    """Proves that each profile tells where the time went, in the form that clients parse."""
    header = _classify(service, "a phone").headers["Server-Timing"]
    number = r"\d+\.\d+"
    parts = [f"{name};dur={number}" for name in ("queue", "tokenize", "infer", "serialize")]
    assert re.fullmatch(", ".join([*parts, 'batch;desc="1"']), header), header


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"text": 3}', "application/json", 400),
        (b'{"text": "  "}', "application/json", 400),
        (b'{"words": "a"}', "application/json", 400),
        (b'{"text": "a', "application/json", 400),
        (b'{"text": "\xff\xfe"}', "application/json", 400),
        (b"[]", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"text": "' + b"a" * 100_001 + b'"}', "application/json", 400),
        (b'{"text": "' + b"a" * 2_000_000 + b'"}', "application/json", 413),
        (b"text=a", "application/x-www-form-urlencoded", 415),
        (b"\x80\x04.", "application/vnd.bentoml+pickle", 415),
    ],
)
def test_bad_input_is_the_clients_fault(service: Served, content: bytes, kind: str, status: int) -> None:
    """Proves that what is wrong with a request is said with a 4xx and without a stack trace."""
    response = service.client.post("/classify", content=content, headers={"Content-Type": kind})
    assert response.status_code == status, response.text
    assert response.json()["error"]
    assert "Traceback" not in response.text


def test_long_text_is_truncated(service: Served) -> None:
    """Proves that text beyond 512 tokens is answered from its beginning, not refused."""
    assert _classify(service, "a wonderful lovely phone " * 3000).json()["label"] == "positive"


def test_texts_at_once_get_their_own_answers(service: Served) -> None:
    """Proves that batching mixes up no answers: texts of both labels, sent together, each get the right one."""
    wanted = ["positive" if n % 2 else "negative" for n in range(40)]
    texts = {"positive": "A wonderful lovely phone! I love it.", "negative": "A terrible filthy hotel. I hate it."}
    with ThreadPoolExecutor(20) as pool:
        bodies = list(pool.map(lambda label: _classify(service, texts[label]).json(), wanted))
    assert [body["label"] for body in bodies] == wanted


def test_baseline_serves_one_at_a_time_and_optimized_in_batches(served: Callable[..., Served]) -> None:
    """Proves what tells the profiles apart: under 30 requests at once, batches of one against larger ones."""
    largest = {}
    for name, profile in PROFILES.items():
        service = served(profile)
        with ThreadPoolExecutor(30) as pool:
            responses = list(pool.map(_classify, [service] * 60, [f"phone {n} " * 60 for n in range(60)]))
        sizes = [int(re.findall(r'batch;desc="(\d+)"', response.headers["Server-Timing"])[0]) for response in responses]
        largest[name] = max(sizes)
    assert largest["baseline"] == 1
    assert 1 < largest["optimized"] <= 8
    assert 1 < largest["bentoml"] <= 8


def test_overload_is_refused_early_with_the_time_to_come_back(served: Callable[..., Served]) -> None:
    """Proves that of a lasting queue some are served, others refused with Retry-After, and that it ends there."""
    strict = {**OPTIMIZED["service"], "queue_target_ms": 1, "slowdown": {"infer": 20.0}}
    service = served({**OPTIMIZED, "name": "strict", "service": strict})
    with ThreadPoolExecutor(30) as pool:
        responses = list(pool.map(_classify, [service] * 400, [f"phone {n} " * 60 for n in range(400)]))
    refused = [response for response in responses if response.status_code == 503]
    assert {response.status_code for response in responses} == {200, 503}
    assert all(int(response.headers["Retry-After"]) >= 1 for response in refused)
    assert "overloaded" in refused[0].json()["error"]
    assert _classify(service, "a wonderful phone").status_code == 200


def test_access_log_follows_the_profile(served: Callable[..., Served]) -> None:
    """Proves that the baseline logs each request, as BentoML does out of the box, and the optimized profile none."""
    logged = {}
    for name in ("baseline", "optimized"):
        service = served(PROFILES[name])
        assert _classify(service, "a phone").status_code == 200
        # The line may come after the answer; of the optimized profile, none of all these tests' requests left one.
        deadline = time.monotonic() + (60 if name == "baseline" else 1)
        while not (seen := "path=/classify" in service.log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        logged[name] = seen
    assert logged == {"baseline": True, "optimized": False}


@pytest.mark.parametrize(
    ("profile", "extra", "said"),
    [
        ('{"name": "p", "runtime": {"enigne": "torch"}}', {}, "did you mean 'engine'?"),
        ("{", {}, "INFERBENCH_PROFILE is not JSON"),
        ("", {"INFERBENCH_MODEL": "embedded:huge"}, "embedded:base, embedded:tiny"),
    ],
)
def test_a_bad_setting_ends_the_boot_with_one_message(
    profile: str, extra: dict[str, str], said: str, tiny_cache: Path
) -> None:
    """Proves that the process dies at boot, and that the end of its log is the message and not a traceback."""
    env: dict[str, Any] = service_environment(tiny_cache, profile, **extra)
    ran = subprocess.run(
        serve_command(free_port()), cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode != 0
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith("service: error: ")
    assert said in last
    assert "Traceback" not in ran.stderr
