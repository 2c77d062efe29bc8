"""The immediate batcher and the classifier's queue, without a model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from service.admission import Admission
from service.batcher import Batcher, TooLate
from service.classifier import Answer, Classifier, Queued, Ticket


class _Gate:
    """Stands for a slow engine: each batch waits until the test lets it go."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = threading.Event()
        self.entered = threading.Event()

    def compute(self, items: Sequence[Queued]) -> list[Answer]:
        self.batches.append([item.text for item in items])
        self.entered.set()
        assert self.open.wait(10)
        return [Answer((1.0, 0.0, 0.0), batch=len(items)) for _ in items]


def _batcher(gate: _Gate, latency_ms: int = 60_000) -> Batcher:
    return Batcher(gate.compute, max_batch_size=3, max_latency_ms=latency_ms)


async def _first_in(gate: _Gate, batcher: Batcher) -> asyncio.Task[Answer]:
    first = asyncio.create_task(batcher.submit(Queued("first", Ticket())))
    await asyncio.to_thread(gate.entered.wait, 10)
    return first


def test_what_queues_up_behind_a_batch_is_the_next_batch() -> None:
    """Proves that an idle engine gets a text at once, and a busy one everything that waited, up to the limit."""
    gate = _Gate()

    async def scenario() -> None:
        batcher = _batcher(gate)
        tasks = [await _first_in(gate, batcher)]
        tasks += [asyncio.create_task(batcher.submit(Queued(str(n), Ticket()))) for n in range(4)]
        await asyncio.sleep(0)
        gate.open.set()
        answers = await asyncio.gather(*tasks)
        assert [answer.batch for answer in answers] == [1, 3, 3, 3, 1]

    asyncio.run(scenario())
    assert gate.batches == [["first"], ["0", "1", "2"], ["3"]]


def test_texts_of_like_length_go_together_and_the_oldest_goes_first() -> None:
    """Proves that a batch is the longest waiting text with those of about its length, and that the rest is next."""
    gate = _Gate()

    async def scenario() -> None:
        batcher = _batcher(gate)
        tasks = [await _first_in(gate, batcher)]
        for name, tokens in {"short": 5, "long": 120, "long too": 118, "short too": 6}.items():
            queued = Queued(name, Ticket(), ids=range(tokens))
            tasks.append(asyncio.create_task(batcher.submit(queued)))
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert gate.batches == [["first"], ["short", "short too"], ["long", "long too"]]


def test_two_streams_compute_two_batches_at_once() -> None:
    """Proves that with two streams the second text does not wait for the first, and the third does."""
    gate = _Gate()

    async def scenario() -> None:
        batcher = Batcher(gate.compute, max_batch_size=3, max_latency_ms=60_000, streams=2)
        tasks = [await _first_in(gate, batcher)]
        gate.entered.clear()
        tasks.append(asyncio.create_task(batcher.submit(Queued("second", Ticket()))))
        await asyncio.to_thread(gate.entered.wait, 10)
        tasks += [asyncio.create_task(batcher.submit(Queued(name, Ticket()))) for name in ("third", "fourth")]
        await asyncio.sleep(0)
        assert gate.batches == [["first"], ["second"]]
        gate.open.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert gate.batches[2:] == [["third", "fourth"]]


def test_admission_hears_of_every_text_once() -> None:
    """Proves that what was computed, shed or cancelled is counted out again, and nothing twice."""
    gate, admission = _Gate(), Admission(target_ms=1, clock=lambda: 0)
    late = Ticket(arrived_ns=Ticket().arrived_ns - 30 * 10**9)

    async def scenario() -> None:
        batcher = Batcher(gate.compute, max_batch_size=3, max_latency_ms=20_000, admission=admission)
        tasks = [await _first_in(gate, batcher)]
        for ticket in (Ticket(), late, Ticket()):
            tasks.append(asyncio.create_task(batcher.submit(Queued("text", ticket, ids=range(10)))))
        await asyncio.sleep(0)
        tasks[1].cancel()
        gate.open.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())
    assert admission.waiting_tokens == 0


def test_a_cancelled_request_takes_no_place_in_a_batch() -> None:
    """Proves that work whose waiter has gone is dropped from the queue."""
    gate = _Gate()

    async def scenario() -> None:
        batcher = _batcher(gate)
        first = await _first_in(gate, batcher)
        gone, stays = (asyncio.create_task(batcher.submit(Queued(name, Ticket()))) for name in ("gone", "stays"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(first, stays)

    asyncio.run(scenario())
    assert gate.batches == [["first"], ["stays"]]


def test_a_request_that_would_be_late_is_shed() -> None:
    """Proves that a text older than the limit is refused and not computed, while a fresh one is served."""
    gate = _Gate()

    async def scenario() -> None:
        batcher = _batcher(gate, latency_ms=20_000)
        first = await _first_in(gate, batcher)
        old = asyncio.create_task(batcher.submit(Queued("old", Ticket(arrived_ns=Ticket().arrived_ns - 30 * 10**9))))
        new = asyncio.create_task(batcher.submit(Queued("new", Ticket())))
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(first, new)
        with pytest.raises(TooLate):
            await old

    asyncio.run(scenario())
    assert gate.batches == [["first"], ["new"]]


def test_a_failing_batch_fails_its_own_requests_only() -> None:
    """Proves that an engine's error reaches who asked, and that the next request is served."""
    calls: list[int] = []

    def compute(items: Sequence[Queued]) -> list[Answer]:
        calls.append(len(items))
        if len(calls) == 1:
            raise ArithmeticError("broken")
        return [Answer((1.0, 0.0, 0.0)) for _ in items]

    async def scenario() -> None:
        batcher = Batcher(compute, max_batch_size=3, max_latency_ms=1000)
        with pytest.raises(ArithmeticError):
            await batcher.submit(Queued("one", Ticket()))
        assert (await batcher.submit(Queued("two", Ticket()))).probabilities == (1.0, 0.0, 0.0)

    asyncio.run(scenario())


class _Counting:
    """An engine that answers by the length of the text and remembers what it computed."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        self.seen.extend(texts)
        return [[len(text)] for text in texts]

    def logits(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        return np.array([[row[0], 0.0, 1.0] for row in ids], dtype=np.float32)

    def warm_up(self, ids: Sequence[Sequence[int]]) -> None:
        self.logits(ids)


def test_abandoned_texts_are_not_computed_and_rows_follow_the_labels() -> None:
    """Proves that abandoned work is skipped, others keep their places, and outputs are put in our label order."""
    engine = _Counting()
    classifier = Classifier(engine, label_rows=(2, 1, 0))
    items = [Queued("aa", Ticket()), Queued("gone", Ticket(abandoned=True)), Queued("bbbb", Ticket())]
    answers = classifier.classify(items)
    assert engine.seen == ["aa", "bbbb"]
    assert answers[1].probabilities == ()
    assert answers[0].batch == answers[2].batch == 2
    assert answers[2].classification().label == "positive"
    assert sum(answers[2].probabilities) == pytest.approx(1.0)
    assert answers[2].probabilities[2] > answers[0].probabilities[2]


def test_a_text_that_is_tokenized_waits_for_the_engine_alone() -> None:
    """Proves that token ids found before a text's turn are used as they are, and their time is not queueing."""
    engine = _Counting()
    classifier = Classifier(engine, (0, 1, 2))
    ready = classifier.tokenize(Queued("aaa", Ticket()))
    assert (ready.ids, engine.seen) == ([3], ["aaa"])
    (answer,) = classifier.classify([ready])
    assert engine.seen == ["aaa"], "it was tokenized twice"
    assert answer.tokenize_ns == ready.tokenize_ns > 0
    assert answer.queue_ns >= 0


def test_server_timing_is_the_standard_header() -> None:
    """Proves the exact form of the header: milliseconds, and the batch size as a description."""
    answer = Answer((), queue_ns=1_500_000, tokenize_ns=20_000, infer_ns=9_000_000, batch=8)
    assert answer.server_timing(serialize_ns=50_000) == (
        'queue;dur=1.500, tokenize;dur=0.020, infer;dur=9.000, serialize;dur=0.050, batch;desc="8"'
    )


class _Clock:
    """In the place of ``time``: moves by what is slept, and by a microsecond whenever somebody looks."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        self.now_ns += 1_000
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


@pytest.mark.parametrize("component", ["tokenize", "infer"])
def test_a_slowdown_falls_on_its_component_alone(component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a component told to take three times as long does, measured as the header reports it."""
    clock = _Clock()
    monkeypatch.setattr("service.classifier.time", clock)

    class Slow(_Counting):
        def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
            clock.sleep(0.02)
            return super().tokenize(texts)

        def logits(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
            clock.sleep(0.02)
            return super().logits(ids)

    (answer,) = Classifier(Slow(), (0, 1, 2), slowdown={component: 2.0}).classify([Queued("x", Ticket())])
    took = {"tokenize": answer.tokenize_ns / 1e6, "infer": answer.infer_ns / 1e6}
    other = "infer" if component == "tokenize" else "tokenize"
    assert took == pytest.approx({component: 60, other: 20}, abs=0.1)
