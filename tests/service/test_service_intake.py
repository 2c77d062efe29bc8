"""The door: bounds, and requests whose sender has left."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from service.classifier import Ticket
from service.intake import (
    CLIENT_LEFT,
    MAX_BODY_BYTES,
    MAX_CHARACTERS,
    IntakeMiddleware,
    Message,
    Receive,
    Send,
    enqueue,
)

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
        tickets.append(enqueue("a phone")[0].ticket)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def scenario() -> None:
        receive = _incoming({"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"})

        async def send(message: Message) -> None:
            sent.append(message)

        await IntakeMiddleware(app, frozenset({"/classify"}))(dict(SCOPE), receive, send)
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
    asyncio.run(IntakeMiddleware(app, frozenset({"/classify"}))(dict(SCOPE), _incoming(chunk, chunk), send))
    assert sent[0]["status"] == 413


def test_an_overloaded_service_refuses_at_the_door() -> None:
    """Proves that nothing is read or handed on while the door is shut, and that the answer says for how long."""
    sent: list[Message] = []

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        raise AssertionError("the door is shut")

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    async def send(message: Message) -> None:
        sent.append(message)

    door = IntakeMiddleware(app, frozenset({"/classify"}), retry_after_s=lambda: 7)
    asyncio.run(door(dict(SCOPE), receive, send))
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
    asyncio.run(IntakeMiddleware(app, frozenset({"/classify"}))(dict(SCOPE), receive, send))
    assert sent[0]["headers"] == [(b"retry-after", b"1")]


def test_other_paths_pass_untouched() -> None:
    """Proves that health checks are not read, bounded or watched."""
    seen: list[Any] = []

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        seen.append(receive)

    receive = _incoming()

    async def send(message: Message) -> None:
        raise AssertionError(message)

    asyncio.run(IntakeMiddleware(app, frozenset({"/classify"}))({**SCOPE, "path": "/readyz"}, receive, send))
    assert seen == [receive]


@pytest.mark.parametrize("text", [None, 3, ["a"], "", " \n", "a" * (MAX_CHARACTERS + 1)])
def test_what_is_not_a_usable_text_is_refused(text: object) -> None:
    """Proves that each kind of unusable text is a ValueError, which BentoML turns into 400."""
    with pytest.raises(ValueError, match="text"):
        enqueue(text)
