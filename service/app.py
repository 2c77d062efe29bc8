"""``SentimentService``: what ``bentoml serve service.app:SentimentService`` and ``bentoml build`` take.

``POST /classify`` with ``{"text": "..."}`` answers ``{"label": ..., "score": ..., "probabilities": {...}}`` and a
``Server-Timing`` header. Text beyond the model's 512 tokens is cut off; beyond 100,000 characters it is refused.

The profile in ``INFERBENCH_PROFILE`` chooses one of three services with the same endpoint: :class:`Plain` computes one
request at a time, :class:`Batched` collects them with :mod:`service.batcher`, :class:`AdaptiveBatched` leaves that to
BentoML.
"""

# BentoML ships no types for what it exports here.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import asyncio
import resource
from typing import Any

import bentoml
from bentoml.exceptions import ServiceUnavailable

from service import engines
from service.admission import Admission
from service.batcher import Batcher, TooLate
from service.classifier import Answer, Classifier, Queued, Ticket
from service.errors import ServiceError
from service.intake import IntakeMiddleware
from service.schema import BatchItem, Classification, Text
from service.settings import Profile

_DESCRIPTORS = 65_536
_SHORT_CHARACTERS = 2_000


def _profile() -> Profile:
    try:
        return Profile.from_environment()
    except ServiceError as error:
        # The last line of the log, instead of a traceback through BentoML's loader.
        raise SystemExit(f"service: error: {error}") from None


PROFILE = _profile()
#: What every service here is configured with.
CONFIG: dict[str, Any] = {
    "envs": [{"name": "TOKENIZERS_PARALLELISM", "value": "false"}],
    "traffic": {"timeout": PROFILE.service.timeout_s},
    "http": {"host": "127.0.0.1"},
    "logging": {"access": {"enabled": PROFILE.service.access_log}},
    "metrics": {"enabled": PROFILE.service.metrics},
    "tracing": {} if PROFILE.service.tracing else {"excluded_urls": ".*"},
}


def prepare() -> None:
    """Prepare the process that starts the workers: build what is missing, and allow them enough open files.

    Raises:
        SystemExit: something could not be built, which ends the boot.
    """
    # A thousand requests in flight are a thousand sockets; soft limits of 1024 or 256 are common.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        engines.prepare(PROFILE.runtime)
    except ServiceError as error:
        raise SystemExit(f"service: error: {error}") from None


def load_classifier() -> Classifier:
    """The profile's classifier, warmed up."""
    classifier = Classifier(
        *engines.load(PROFILE.runtime, workers=PROFILE.workers),
        streams=PROFILE.runtime.streams,
        slowdown=PROFILE.service.slowdown.model_dump(),
    )
    classifier.warm_up()
    return classifier


def respond(ticket: Ticket, answer: Answer) -> Classification:
    """The body of the response; the middleware sends the answer's timing."""
    ticket.answered(answer)
    return answer.classification()


@bentoml.service(name="SentimentService", workers=PROFILE.workers, **CONFIG)
class Plain:
    """RoBERTa sentiment analysis, one request at a time."""

    prepare = bentoml.on_deployment(prepare)

    def __init__(self) -> None:
        self._classifier = load_classifier()

    @bentoml.api
    def classify(self, text: Text, ctx: bentoml.Context) -> Classification:
        """Classify one text. Text longer than the model's 512 tokens is truncated."""
        ticket = ctx.request.state.ticket
        (answer,) = self._classifier.classify([Queued(text, ticket)])
        return respond(ticket, answer)


@bentoml.service(name="SentimentService", workers=PROFILE.workers, **CONFIG)
class Batched:
    """RoBERTa sentiment analysis in batches that are never waited for, and a lasting queue refused."""

    prepare = bentoml.on_deployment(prepare)

    def __init__(self) -> None:
        self._classifier = load_classifier()
        self.admission = Admission(target_ms=PROFILE.service.queue_target_ms, streams=PROFILE.runtime.streams)
        self._batcher = Batcher(
            self._classifier.classify,
            max_batch_size=PROFILE.service.max_batch_size,
            max_latency_ms=PROFILE.service.max_latency_ms,
            streams=PROFILE.runtime.streams,
            admission=self.admission,
        )

    @bentoml.api
    async def classify(self, text: Text, ctx: bentoml.Context) -> Classification:
        """Classify one text. Text longer than the model's 512 tokens is truncated."""
        ticket = ctx.request.state.ticket
        queued = Queued(text, ticket)
        # A short text is done before a thread has taken it up; a long one would hold up all the others.
        if len(text) <= _SHORT_CHARACTERS:
            queued = self._classifier.tokenize(queued)
        else:
            queued = await asyncio.to_thread(self._classifier.tokenize, queued)
        try:
            answer = await self._batcher.submit(queued)
        except TooLate:
            raise ServiceUnavailable("process is overloaded") from None
        return respond(ticket, answer)


# By default BentoML replaces its connections to another service after 100 requests or 300 seconds, and the requests
# that are then on their way fail (bentoml 1.4.40).
@bentoml.service(
    name="BatchClassifier",
    workers=PROFILE.workers,
    runner_connection={"max_requests": 2**53, "max_age": 2.0**53},
    **CONFIG,
)
class BatchClassifier:
    """What :class:`AdaptiveBatched` sends each request to, in batches of BentoML's making."""

    prepare = bentoml.on_deployment(prepare)

    def __init__(self) -> None:
        self._classifier = load_classifier()

    @bentoml.api(
        batchable=True,
        max_batch_size=PROFILE.service.max_batch_size,
        max_latency_ms=PROFILE.service.max_latency_ms,
    )
    def classify(self, items: list[BatchItem]) -> list[Answer]:
        """Classify texts, together."""
        return self._classifier.classify([Queued(item.text, Ticket(item.arrived_ns)) for item in items])


@bentoml.service(name="SentimentService", **CONFIG)
class AdaptiveBatched:
    """RoBERTa sentiment analysis in batches of BentoML's making."""

    batches = bentoml.depends(BatchClassifier)

    @bentoml.api
    async def classify(self, text: Text, ctx: bentoml.Context) -> Classification:
        """Classify one text. Text longer than the model's 512 tokens is truncated."""
        ticket = ctx.request.state.ticket
        (answer,) = await self.batches.to_async.classify([BatchItem(text=text, arrived_ns=ticket.arrived_ns)])
        return respond(ticket, answer)


def seconds_until_admitted() -> int | None:
    """After how many seconds a request that comes now should be sent again; None: it is let in."""
    service: Batched = bentoml.get_current_service()
    return service.admission.retry_after_s()


SentimentService: Any
if PROFILE.service.batching and PROFILE.service.batcher == "immediate":
    SentimentService = Batched
    SentimentService.add_asgi_middleware(IntakeMiddleware, path="/classify", retry_after_s=seconds_until_admitted)
else:
    SentimentService = AdaptiveBatched if PROFILE.service.batching else Plain
    SentimentService.add_asgi_middleware(IntakeMiddleware, path="/classify")
