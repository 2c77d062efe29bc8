"""A faster service that answers differently is not an optimization: the answers, against `baseline` and the labels."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx
from scipy.stats import binomtest

from service.text.corpus import held_out

TEXTS = 300
IN_FLIGHT = 8


@dataclass(frozen=True, slots=True)
class Answers:
    """What the service said to each text."""

    labels: list[str]
    probabilities: list[dict[str, float]]


async def ask(url: str, texts: list[str]) -> Answers:
    """Classify every text at the service behind ``url``."""
    limit = asyncio.Semaphore(IN_FLIGHT)
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:

        async def one(text: str) -> httpx.Response:
            async with limit:
                return (await client.post("/classify", json={"text": text})).raise_for_status()

        bodies = [response.json() for response in await asyncio.gather(*map(one, texts))]
    return Answers([body["label"] for body in bodies], [body["probabilities"] for body in bodies])


def share(successes: int) -> str:
    """Return ``"98.7 % (96.6 to 99.6)"``: the share of TEXTS with its exact 95 % interval (Clopper-Pearson)."""
    low, high = binomtest(successes, TEXTS).proportion_ci(method="exact")
    return f"{successes / TEXTS:.1%} ({low:.1%} to {high:.1%})"


async def test_answers_agree_with_baseline_and_carry_signal(inference_service, capsys):
    held = held_out(TEXTS, seed=1)
    texts = [item.text for item in held]
    with inference_service.running() as url:
        candidate = await ask(url, texts)
    right = sum(label == item.label for label, item in zip(candidate.labels, held, strict=True))
    lines = [f"profile {inference_service.profile}, {TEXTS} held-out texts: accuracy {share(right)}"]
    same = TEXTS
    if inference_service.profile != "baseline":
        with inference_service.under("baseline").running() as url:
            reference = await ask(url, texts)
        same = sum(a == b for a, b in zip(candidate.labels, reference.labels, strict=True))
        shift = max(
            abs(a[label] - b[label])
            for a, b in zip(candidate.probabilities, reference.probabilities, strict=True)
            for label in a
        )
        lines.append(f"same label as baseline {share(same)}, largest probability shift {shift:.3f}")
    with capsys.disabled():
        print("\n  " + "; ".join(lines))
    assert right >= 0.80 * TEXTS, lines
    assert same >= 0.98 * TEXTS, lines
