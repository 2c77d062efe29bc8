"""What happens to a request before its endpoint: bounds, refusal, and requests whose sender has left."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from service.classifier import Answer, Ticket
from service.intake import CLIENT_LEFT, MAX_BODY_BYTES, IntakeMiddleware, Message, Receive, Send
from service.schema import MAX_CHARACTERS, Text

SCOPE = {"type": "http", "path": "/classify", "method": "POST", "headers": [(b"content-type", b"application/json")]}


def _incoming(*messages: Message) -> Receive:
    queue = list(messages)

    async def receive() -> Message:
        if not queue:
            await asyncio.Event().wait()
        return queue.pop(0)

    return receive


def test_a_disconnect_abandons_the_ticket_and_cancels_the_request() -> None:
    """Proves that a request whose client leaves while it waits is cancelled, with its queued text marked."""
    tickets: list[Ticket] = []
    cancelled: list[bool] = []
    sent: list[Message] = []

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        tickets.append(scope["state"]["ticket"])
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def scenario() -> None:
        receive = _incoming({"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"})

        async def send(message: Message) -> None:
            sent.append(message)

        await IntakeMiddleware(app, "/classify")(dict(SCOPE), receive, send)
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert [ticket.abandoned for ticket in tickets] == [True]
    assert cancelled == [True]
    # BentoML's timeout waits for a first byte, even one to nobody.
    assert sent[0]["status"] == CLIENT_LEFT


def test_a_body_in_chunks_is_bounded_too() -> None:
    """Proves that a body without a declared length is cut off with 413 once it is too large, and never handed on."""
    sent: list[Message] = []

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        raise AssertionError("the body is too large to be handed on")

    async def send(message: Message) -> None:
        sent.append(message)

    chunk = {"type": "http.request", "body": b"x" * (MAX_BODY_BYTES // 2 + 1), "more_body": True}
    asyncio.run(IntakeMiddleware(app, "/classify")(dict(SCOPE), _incoming(chunk, chunk), send))
    assert sent[0]["status"] == 413


def test_an_overloaded_service_refuses_before_it_reads() -> None:
    """Proves that a refused request is neither read nor handed on, and that the answer says when to come back."""
    sent: list[Message] = []

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        raise AssertionError("it was refused")

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(IntakeMiddleware(app, "/classify", retry_after_s=lambda: 7)(dict(SCOPE), receive, send))
    assert sent[0]["status"] == 503
    assert dict(sent[0]["headers"])[b"retry-after"] == b"7"


def test_a_503_from_inside_says_when_to_retry_too() -> None:
    """Proves that what the batcher sheds, and BentoML refuses of its own accord, carries Retry-After."""
    sent: list[Message] = []

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": []})

    async def send(message: Message) -> None:
        sent.append(message)

    receive = _incoming({"type": "http.request", "body": b"{}"})
    asyncio.run(IntakeMiddleware(app, "/classify")(dict(SCOPE), receive, send))
    assert sent[0]["headers"] == [(b"retry-after", b"1")]


def test_what_the_endpoint_noted_is_sent_as_server_timing() -> None:
    """Proves that the answer on the ticket becomes the header, and that a response without one has none."""
    sent: list[Message] = []

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if (await receive())["body"] == b"computed":
            scope["state"]["ticket"].answered(Answer((1.0, 0.0, 0.0), queue_ns=2_000_000, batch=3))
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Message) -> None:
        sent.append(message)

    for body in (b"computed", b"failed"):
        receive = _incoming({"type": "http.request", "body": body})
        asyncio.run(IntakeMiddleware(app, "/classify")(dict(SCOPE), receive, send))
    (name, value), *others = sent[0]["headers"]
    assert (name, others) == (b"server-timing", [])
    assert value.startswith(b"queue;dur=2.000, ")
    assert value.endswith(b'batch;desc="3"')
    assert sent[1]["headers"] == []


def test_other_paths_pass_untouched() -> None:
    """Proves that health checks are not read, bounded or watched."""
    seen: list[Any] = []

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        seen.append(receive)

    receive = _incoming()

    async def send(message: Message) -> None:
        raise AssertionError(message)

    asyncio.run(IntakeMiddleware(app, "/classify")({**SCOPE, "path": "/readyz"}, receive, send))
    assert seen == [receive]


@pytest.mark.parametrize("text", [None, 3, ["a"], "", " \n", "a" * (MAX_CHARACTERS + 1)])
def test_what_is_not_a_usable_text_is_refused(text: object) -> None:
    """Proves that each kind of unusable text is a validation error, which BentoML turns into 400."""
    with pytest.raises(ValidationError):
        TypeAdapter(Text).validate_python(text)
