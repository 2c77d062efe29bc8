"""The slow network: a proxy that keeps bytes, order and ends of streams, with and without delay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pytest_inferbench.deployment.proxy import DelayProxy, open_proxy

pytestmark = pytest.mark.asyncio


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send everything back, and then the end."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def echoing() -> AsyncIterator[DelayProxy]:
    """A proxy before a server that echoes."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with open_proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


async def exchange(proxy: DelayProxy, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(sent)
    writer.write_eof()
    received = await reader.read()
    writer.close()
    return received


@pytest.mark.parametrize("delay", [0.0, 0.05])
async def test_bytes_arrive_whole_and_in_order(delay: float) -> None:
    """Three megabytes there and back, on eight connections at once: what is received is what was sent."""
    sent = bytes(range(256)) * 12_288
    async with echoing() as proxy:
        proxy.delay = delay
        received = await asyncio.gather(*(exchange(proxy, sent) for _ in range(8)))
    assert all(each == sent for each in received)


async def test_each_way_takes_the_delay() -> None:
    """A byte takes the delay that it left with; once the delay is over it may be quicker, never out of order."""
    async with echoing() as proxy:
        proxy.delay = 0.6
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        started = time.monotonic()
        writer.write(b"a")
        await asyncio.sleep(0.3)  # by now the first byte is under way
        proxy.delay = 0.0
        writer.write(b"b")
        assert await reader.readexactly(2) == b"ab"
        assert time.monotonic() - started >= 0.6
        writer.close()


async def test_a_service_that_is_not_there_closes_the_connection() -> None:
    """Refused behind the proxy is closed before it: the client waits for nobody."""
    async with open_proxy("127.0.0.1", 9) as proxy:
        assert await exchange(proxy, b"x") == b""
