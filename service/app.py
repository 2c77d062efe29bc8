"""``SentimentService``: what ``bentoml serve service.app:SentimentService`` takes.

``POST /classify`` with ``{"text": "..."}`` answers ``{"label": ..., "score": ..., "probabilities": {...}}`` and a
``Server-Timing`` header. Text beyond the model's 512 tokens is cut off; beyond 100,000 characters it is refused.
"""

# BentoML ships no types for what it exports here.
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

import asyncio
import os
import resource
import time
from dataclasses import replace
from typing import Annotated, Any, cast

# Before bentoml is imported, which reads it then: a benchmark sends nothing to anybody else.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import bentoml
from bentoml import IODescriptor
from bentoml.exceptions import ServiceUnavailable
from pydantic import PlainValidator, WithJsonSchema
from starlette.responses import JSONResponse, Response

from service import engines
from service.admission import Admission
from service.batcher import Batcher, TooLate
from service.classifier import Answer, Classifier, Queued
from service.errors import ServiceError
from service.intake import MAX_CHARACTERS, IntakeMiddleware, enqueue
from service.settings import Profile

_DESCRIPTORS = 65_536
_SHORT_CHARACTERS = 2_000


def _profile() -> Profile:
    try:
        return Profile.from_environment()
    except ServiceError as error:
        # The last line of the log, instead of a traceback through BentoML's loader.
        raise SystemExit(f"service: error: {error}") from None


def _raise_descriptor_limit() -> None:
    """A thousand requests in flight are a thousand sockets; soft limits of 1024 or 256 are common."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class ClassifyInput(IODescriptor):
    """The request: one text."""

    text: Annotated[
        Any, PlainValidator(enqueue), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS})
    ]


class ClassifyOutput(IODescriptor):
    """The response: the most probable label, its probability, and those of all labels."""

    label: str
    score: float
    probabilities: dict[str, float]

    @classmethod
    async def to_http_response(cls, obj: Any, serde: Any) -> Response:
        """``obj`` is the list of one :class:`Answer` that BentoML cut out of its batch."""
        answer: Answer = obj[0]
        started = time.monotonic_ns()
        response = JSONResponse(answer.body())
        timed = replace(answer, serialize_ns=time.monotonic_ns() - started)
        response.headers["Server-Timing"] = timed.server_timing()
        return response


PROFILE = _profile()
# Shared by the door, which asks it, and the batcher, which tells it what goes on.
ADMISSION = Admission(target_ms=PROFILE.service.queue_target_ms, streams=PROFILE.runtime.streams)
_raise_descriptor_limit()


@bentoml.service(
    name="SentimentService",
    workers=PROFILE.workers,
    traffic={"timeout": PROFILE.service.timeout_s},
    http={"host": "127.0.0.1"},
    logging={"access": {"enabled": PROFILE.service.access_log}},
    metrics={"enabled": PROFILE.service.metrics},
    tracing={} if PROFILE.service.tracing else {"excluded_urls": ".*"},
)
class SentimentService:
    """RoBERTa sentiment analysis, under the profile in ``INFERBENCH_PROFILE``."""

    def __init__(self) -> None:
        self._classifier = Classifier(
            *engines.load(PROFILE.runtime, workers=PROFILE.workers),
            streams=PROFILE.runtime.streams,
            slowdown=PROFILE.service.slowdown,
        )
        self._classifier.warm_up()
        self._batcher = Batcher(
            self._classifier.classify,
            max_batch_size=PROFILE.service.max_batch_size,
            max_latency_ms=PROFILE.service.max_latency_ms,
            streams=PROFILE.runtime.streams,
            admission=ADMISSION,
        )

    @bentoml.on_deployment
    @staticmethod
    def prepare() -> None:
        """Build what is missing, once, in the process that starts the workers: a failure here ends the boot."""
        try:
            engines.prepare(PROFILE.runtime)
        except ServiceError as error:
            raise SystemExit(f"service: error: {error}") from None

    if PROFILE.service.batching and PROFILE.service.batcher == "immediate":

        @bentoml.api(input_spec=ClassifyInput, output_spec=ClassifyOutput)
        async def classify(self, text: list[Queued]) -> list[Answer]:
            """Classify one text. Text longer than the model's 512 tokens is truncated."""
            try:
                return [await self._batcher.submit(await self._tokenized(item)) for item in text]
            except TooLate:
                raise ServiceUnavailable("process is overloaded") from None

        async def _tokenized(self, item: Queued) -> Queued:
            # A short text is done before a thread has taken it up; a long one would hold up all the others.
            if len(item.text) <= _SHORT_CHARACTERS:
                return self._classifier.tokenize(item)
            return await asyncio.to_thread(self._classifier.tokenize, item)

    else:

        @bentoml.api(
            input_spec=ClassifyInput,
            output_spec=ClassifyOutput,
            batchable=PROFILE.service.batching,
            max_batch_size=PROFILE.service.max_batch_size,
            max_latency_ms=PROFILE.service.max_latency_ms,
        )
        def classify(self, text: list[Queued]) -> list[Answer]:
            """Classify one text. Text longer than the model's 512 tokens is truncated."""
            return self._classifier.classify(text)


cast(Any, SentimentService).add_asgi_middleware(
    IntakeMiddleware, paths=frozenset({"/classify"}), retry_after_s=ADMISSION.retry_after_s
)
