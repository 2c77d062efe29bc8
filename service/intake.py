"""What happens to a request before and after its endpoint: bounds, refusal, abandonment and ``Server-Timing``."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from service.classifier import Ticket
from service.schema import MAX_CHARACTERS

# JSON may spell one character in twelve bytes (an escaped surrogate pair).
MAX_BODY_BYTES: Final = 12 * MAX_CHARACTERS + 1024

# nginx's number for it; only ever seen in the access log.
CLIENT_LEFT: Final = 499
OVERLOADED: Final = 503

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class IntakeMiddleware:
    """ASGI middleware for ``POST`` to ``path``; everything else passes untouched.

    - 503 with ``Retry-After`` as long as ``retry_after_s`` gives a number of seconds, before anything is read: to
      refuse costs next to nothing here. A 503 from the service itself gets the header, too.
    - The body is read before anything else reads it: 413 above ``MAX_BODY_BYTES``, 415 for what is not JSON.
    - The endpoint finds the request's :class:`Ticket` in ``request.state.ticket``. The answer that it notes there is
      sent as ``Server-Timing``, with the time from then until the response begins as ``serialize``.
    - If the client disconnects, or BentoML's own timeout cancels the request, the ticket is marked abandoned and the
      request is cancelled, so that nobody computes an answer for no one.
    """

    def __init__(self, app: App, path: str, retry_after_s: Callable[[], int | None] = lambda: None) -> None:
        self._app = app
        self._path = path
        self._retry_after_s = retry_after_s

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST":
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
        scope.setdefault("state", {})["ticket"] = ticket
        await self._handle(scope, body, receive, send, ticket)

    async def _handle(
        self, scope: MutableMapping[str, Any], body: bytes, receive: Receive, send: Send, ticket: Ticket
    ) -> None:
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                # Whoever asks again waits for the disconnect, which is noticed here.
                await asyncio.Event().wait()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_headers(message["status"], ticket)]
            await send(message)

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


def _headers(status: int, ticket: Ticket) -> list[tuple[bytes, bytes]]:
    """What the response to a request that was let in has besides the service's own headers."""
    if status == OVERLOADED:
        return [(b"retry-after", b"1")]
    if ticket.answer is None:
        return []
    timing = ticket.answer.server_timing(serialize_ns=time.monotonic_ns() - ticket.answered_ns)
    return [(b"server-timing", timing.encode())]


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
