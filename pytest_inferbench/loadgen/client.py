"""The HTTP client of the worker: one request in, one answer out, every way to fail told apart. Imports aiohttp."""

from __future__ import annotations

import errno
import importlib
import ssl
import time
from collections.abc import Callable
from types import TracebackType

import aiohttp
from yarl import URL

from pytest_inferbench.errors import LoadError
from pytest_inferbench.loadgen.payloads import Bodies, ContentKind
from pytest_inferbench.loadgen.recorder import Answer
from pytest_inferbench.loadgen.target import ResponseCheck, Target
from pytest_inferbench.runs.run import Failure

__all__ = ["HttpClient"]

#: Idle connections are dropped after this many seconds: before uvicorn's 5 s (BentoML's too) and everyone else's
#: longer ones, or a request would now and then meet a connection that the server is just closing.
_IDLE_SECONDS = 4.0

#: Errors of the machine that sends, not of the service: descriptors, ports, memory.
_LOCAL_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})

_CONTENT_TYPES = {
    ContentKind.JSON: "application/json",
    ContentKind.TEXT: "text/plain; charset=utf-8",
    ContentKind.BYTES: "application/octet-stream",
}


class HttpClient:
    """Sends the requests of one run to one target. An async context manager; make it inside the loop that runs it."""

    def __init__(self, target: Target, bodies: Bodies, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._method = target.method
        self._url = URL(target.url)
        self._bodies = bodies.distinct()
        self._index = bodies.index.data
        own = {name.lower() for name in target.headers or {}}
        self._headers = [
            None if kind is ContentKind.NONE or "content-type" in own else {"Content-Type": _CONTENT_TYPES[kind]}
            for kind in map(ContentKind, bodies.kinds.tolist())
        ]
        self._judge = _judge(target.check)
        if target.keep_alive:
            connector = aiohttp.TCPConnector(
                limit=target.max_connections or 0, keepalive_timeout=_IDLE_SECONDS, ssl=_tls(target), ttl_dns_cache=None
            )
        else:
            connector = aiohttp.TCPConnector(
                limit=target.max_connections or 0, force_close=True, ssl=_tls(target), ttl_dns_cache=None
            )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": "pytest-inferbench", **(target.headers or {})},
            # No Accept-Encoding unless asked for: inflating bodies is work that is not the service's.
            skip_auto_headers=("Accept-Encoding", "Content-Type"),
            # The threshold: aiohttp otherwise rounds timeouts above 5 s up to whole seconds.
            timeout=aiohttp.ClientTimeout(total=target.timeout, ceil_threshold=float("inf")),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        # aiohttp silently repeats an idempotent request whose reused connection broke. What the user of such a
        # client is spared, a measurement must see; there is no public switch (its own test client sets this too).
        self._session._retry_connection = False

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(self, i: int) -> Answer:
        """Send request ``i`` and read the answer to its last byte. Errors become answers; cancellation passes."""
        body = self._index[i]
        started = False
        try:
            async with self._session.request(
                self._method,
                self._url,
                data=self._bodies[body] or None,
                headers=self._headers[body],
                allow_redirects=False,
            ) as response:
                started = True
                content = await response.read()
                completed = self._clock()
                timing = response.headers.getall("Server-Timing", None)
                failure = self._judge(response.status, content)
                return Answer(completed, response.status, failure, ",".join(timing) if timing else None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return Answer(self._clock(), 0, _classify(error, started))


def _classify(error: Exception, started: bool) -> Failure:
    """Return why a request failed; ``started``: its response had begun to arrive."""
    if isinstance(error, OSError) and error.errno in _LOCAL_ERRORS:
        return Failure.LOCAL
    if isinstance(error, TimeoutError):
        return Failure.TIMEOUT
    if isinstance(error, aiohttp.ClientConnectorError):
        return Failure.CONNECT
    # ClientResponseError: what came was not HTTP. ValueError: HTTP that does not parse, such as a broken encoding.
    if started or isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientResponseError):
        return Failure.TRUNCATED
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError | aiohttp.ClientOSError):
        return Failure.RESET
    return Failure.OTHER


def _tls(target: Target) -> ssl.SSLContext | bool:
    if target.insecure:
        return False
    if target.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=target.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise LoadError(f"Target.ca_file {target.ca_file!r} is not a readable PEM file: {error}") from None


def _judge(check: ResponseCheck | None) -> Callable[[int, bytes], Failure]:
    check = check or ResponseCheck()
    statuses = None if check.statuses is None else frozenset(check.statuses)
    contains = None if check.contains is None else check.contains.encode()
    function = None if check.function is None else _load(check.function)

    def judge(status: int, body: bytes) -> Failure:
        if statuses is not None:
            if status not in statuses:
                return Failure.CHECK if 200 <= status < 400 else Failure.STATUS
        elif not 200 <= status < 400:
            return Failure.STATUS
        if contains is not None and contains not in body:
            return Failure.CHECK
        if function is not None and not function(status, body):
            return Failure.CHECK
        return Failure.NONE

    return judge


def _load(name: str) -> Callable[[int, bytes], object]:
    module, _, path = name.partition(":")
    try:
        found: object = importlib.import_module(module)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except (ImportError, AttributeError) as error:
        raise LoadError(f"ResponseCheck.function {name!r} cannot be imported: {error}") from None
    if not callable(found):
        raise LoadError(f"ResponseCheck.function {name!r} is a {type(found).__name__}, not a callable")
    return found
