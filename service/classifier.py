"""Requests in, answers out: what happens between the queue and the engine, and how long each part took."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from service.engines import Engine
from service.schema import Classification
from service.text.lexicon import LABELS

_WAKE_NS = 200_000


@dataclass(frozen=True, slots=True)
class Answer:
    """Probabilities in the order of ``LABELS``, and where the time went, in nanoseconds.

    ``batch`` texts were computed together. An abandoned request is not computed: its answer has no probabilities.
    """

    probabilities: tuple[float, ...]
    queue_ns: int = 0
    tokenize_ns: int = 0
    infer_ns: int = 0
    batch: int = 0

    def classification(self) -> Classification:
        """The body of the response."""
        probabilities: dict[str, float] = dict(zip(LABELS, self.probabilities, strict=True))
        label = max(probabilities, key=probabilities.__getitem__)
        return Classification(label=label, score=probabilities[label], probabilities=probabilities)

    def server_timing(self, *, serialize_ns: int) -> str:
        """The value of the standard ``Server-Timing`` header: durations in milliseconds."""
        parts = (
            ("queue", self.queue_ns),
            ("tokenize", self.tokenize_ns),
            ("infer", self.infer_ns),
            ("serialize", serialize_ns),
        )
        timings = [f"{name};dur={duration / 1e6:.3f}" for name, duration in parts]
        return ", ".join([*timings, f'batch;desc="{self.batch}"'])


@dataclass(slots=True, eq=False)
class Ticket:
    """One request that is being handled.

    ``arrived_ns``: when it came. ``abandoned``: nobody waits for its answer any more. ``answer``, ``answered_ns``: what
    was computed for it, and when that was ready.
    """

    arrived_ns: int = field(default_factory=time.monotonic_ns)
    abandoned: bool = False
    answer: Answer | None = None
    answered_ns: int = 0

    def answered(self, answer: Answer) -> None:
        """Note that ``answer`` is ready: what follows is serialization."""
        self.answer, self.answered_ns = answer, time.monotonic_ns()


@dataclass(frozen=True, slots=True)
class Queued:
    """One text that waits for its turn; with its token ``ids``, found in ``tokenize_ns``, if it is tokenized."""

    text: str
    ticket: Ticket
    ids: Sequence[int] = ()
    tokenize_ns: int = 0


class Classifier:
    """An engine with its label order; computes ``streams`` batches at a time, whichever threads call it."""

    def __init__(
        self,
        engine: Engine,
        label_rows: Sequence[int],
        *,
        streams: int = 1,
        slowdown: Mapping[str, float] | None = None,
    ) -> None:
        """``slowdown``: how much longer than it takes a component is made to take (0.1: 10 %), to test who notices."""
        self._engine = engine
        self._slowdown = dict(slowdown or {})
        self._rows = list(label_rows)
        # BentoML's limiter lets a second call in when it cancels a request whose call still runs.
        self._turn = threading.BoundedSemaphore(streams)

    def tokenize(self, item: Queued) -> Queued:
        """The text with its token ids, found while the engine may be computing others."""
        started = time.monotonic_ns()
        (ids,) = self._engine.tokenize([item.text])
        self._linger("tokenize", started)
        return replace(item, ids=ids, tokenize_ns=time.monotonic_ns() - started)

    def classify(self, queued: Sequence[Queued]) -> list[Answer]:
        """One answer per text, in order. Texts whose ticket is abandoned cost nothing.

        Either all texts are tokenized already, or they are all tokenized here.
        """
        with self._turn:
            started = time.monotonic_ns()
            wanted = [index for index, item in enumerate(queued) if not item.ticket.abandoned]
            answers = [Answer(()) for _ in queued]
            if not wanted:
                return answers
            ids = [queued[index].ids for index in wanted]
            if not all(ids):
                ids = list(self._engine.tokenize([queued[index].text for index in wanted]))
                self._linger("tokenize", started)
            tokenized = time.monotonic_ns()
            probabilities = softmax(self._engine.logits(ids))[:, self._rows]
            self._linger("infer", tokenized)
            computed = time.monotonic_ns()
        for index, row in zip(wanted, probabilities.tolist(), strict=True):
            item = queued[index]
            answers[index] = Answer(
                tuple(row),
                queue_ns=started - item.ticket.arrived_ns - item.tokenize_ns,
                tokenize_ns=item.tokenize_ns or tokenized - started,
                infer_ns=computed - tokenized,
                batch=len(wanted),
            )
        return answers

    def _linger(self, component: str, started_ns: int) -> None:
        """Make what has been going on since ``started_ns`` take longer by its share in ``slowdown``."""
        share = self._slowdown.get(component, 0.0)
        if share:
            until = time.monotonic_ns() + share * (time.monotonic_ns() - started_ns)
            # Asleep, the event loop gets on with its work, as while an engine computes; the last bit awake, for a
            # sleep ends late.
            time.sleep(max(0.0, until - time.monotonic_ns() - _WAKE_NS) / 1e9)
            while time.monotonic_ns() < until:
                pass

    def warm_up(self) -> None:
        """Compute something short and something long, so that no request pays for the first time.

        In a thread that ends with it: OpenMP gives each thread that computes a team of its own, and as long as there
        are more of their threads than CPUs they sleep between operations instead of waiting awake (eager PyTorch then
        takes 1.3 times as long).
        """

        def compute() -> None:
            for text in ("warm", "up " * 60):
                self._engine.warm_up(self._engine.tokenize([text]))

        with ThreadPoolExecutor(max_workers=1) as passing:
            passing.submit(compute).result()


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    raised = np.exp(shifted)
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
