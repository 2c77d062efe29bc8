"""The door: bounds what a request may bring, and notices when its sender has left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

from service.classifier import Queued, Ticket

MAX_CHARACTERS: Final = 100_000
# JSON may spell one character in twelve bytes (an escaped surrogate pair).
MAX_BODY_BYTES: Final = 12 * MAX_CHARACTERS + 1024

# nginx's number for it; only ever seen in the access log.
CLIENT_LEFT: Final = 499
OVERLOADED: Final = 503

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_ticket: ContextVar[Ticket | None] = ContextVar("ticket", default=None)


def enqueue(text: object) -> list[Queued]:
    """The ``text`` of a request, checked and bound to the ticket of the request that is being handled.

    A list of one, because BentoML batches lists.

    Raises:
        ValueError: it is not text, or is blank or too long. BentoML answers 400 with the message.
    """
    if not isinstance(text, str):
        raise ValueError(f"text must be a string, got {type(text).__name__}")
    if not text.strip():
        raise ValueError("text must not be blank")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"text has {len(text)} characters; at most {MAX_CHARACTERS} are taken")
    return [Queued(text, _ticket.get() or Ticket())]


class IntakeMiddleware:
    """ASGI middleware for the paths in ``paths``; others pass untouched.

    First of all, 503 with ``Retry-After`` as long as ``retry_after_s`` gives a number of seconds: refusing costs next
    to nothing here. Then reads the body before anything else does: 413 above ``MAX_BODY_BYTES``, 415 for what is not
    JSON. A 503 from further inside tells when to retry, too. From then on, if
    the client disconnects, or BentoML's own timeout cancels the request, its ticket is marked abandoned and the
    request is cancelled, so that nobody computes an answer for no one.
    """

    def __init__(self, app: App, paths: frozenset[str], retry_after_s: Callable[[], int | None] = lambda: None) -> None:
        self._app = app
        self._paths = paths
        self._retry_after_s = retry_after_s

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self._paths or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        ticket = Ticket()
        # Before the body is read: the server discards what it has not handed on.
        if (seconds := self._retry_after_s()) is not None:
            await _refuse(send, OVERLOADED, "the service is overloaded; try again later", retry_after_s=seconds)
            return
        kind = dict(scope["headers"]).get(b"content-type", b"application/json").split(b";")[0].strip().lower()
        if kind != b"application/json":
            await _refuse(send, 415, f"the body must be application/json, not {kind.decode('latin-1')}")
            return
        body = await _read(receive)
        if body is None:
            await _refuse(send, CLIENT_LEFT, "the client left before its request was complete")
            return
        if len(body) > MAX_BODY_BYTES:
            await _refuse(send, 413, f"the body is larger than {MAX_BODY_BYTES} bytes")
            return
        await self._handle(scope, body, receive, send, ticket)

    async def _handle(
        self, scope: MutableMapping[str, Any], body: bytes, receive: Receive, send: Send, ticket: Ticket
    ) -> None:
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                # Whoever asks again waits for the disconnect, which is our business.
                await asyncio.Event().wait()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == OVERLOADED:
                message["headers"] = [*message.get("headers", ()), (b"retry-after", b"1")]
            await send(message)

        _ticket.set(ticket)
        handling = asyncio.ensure_future(self._app(scope, replay, answer))
        leaving = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({handling, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if handling.done():
                await handling
            else:
                # Nobody reads it, but BentoML's timeout would otherwise wait for a first byte for its full time, and
                # hold up a shutdown.
                await _refuse(send, CLIENT_LEFT, "the client left")
        finally:
            leaving.cancel()
            if not handling.done():
                ticket.abandoned = True
                handling.cancel()
                # Its outcome has no reader; asking for it keeps asyncio from reporting that.
                handling.add_done_callback(lambda task: task.cancelled() or task.exception())


async def _read(receive: Receive) -> bytes | None:
    """The body, or a little more than is allowed of it; None if the client left before it was complete."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > MAX_BODY_BYTES or not message.get("more_body", False):
            return b"".join(parts)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(send: Send, status: int, error: str, *, retry_after_s: int | None = None) -> None:
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if retry_after_s is not None:
        headers.append((b"retry-after", str(retry_after_s).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
