"""A TCP proxy on this machine whose delay can be changed while it runs: the slow network between client and service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

__all__ = ["DelayProxy", "open_proxy"]

_CHUNK = 65_536
#: Chunks on their way in one direction of one connection; beyond it the sender has to wait, as with a full pipe.
_IN_FLIGHT = 256


class DelayProxy:
    """Passes bytes on between its clients and ``host:port``; ``delay`` seconds later, each way, for what comes now.

    Bytes keep their order, and a delay that ends does not let later ones overtake. An end of stream is passed on
    like a byte; a connection that the service refuses is closed.
    """

    def __init__(self, host: str, port: int) -> None:
        self.delay = 0.0
        self.port = 0
        self._upstream = (host, port)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen on a free port of the loopback interface."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [writer]
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
            writers.append(upstream_writer)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pass_on(reader, upstream_writer))
                ways.create_task(self._pass_on(upstream_reader, writer))
        except* (OSError, asyncio.CancelledError):
            # Reset by one side: the other one learns it by the close below.
            pass
        finally:
            self._tasks.discard(task)
            for each in writers:
                each.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)

        async def deliver() -> None:
            while True:
                due, data = await waiting.get()
                if (left := due - loop.time()) > 0:
                    await asyncio.sleep(left)
                if not data:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        delivery = loop.create_task(deliver())
        delivery.add_done_callback(lambda task: task.cancelled() or task.exception())  # else asyncio reports it
        try:
            while data := await reader.read(_CHUNK):
                if delivery.done():
                    break
                await waiting.put((loop.time() + self.delay, data))
            if not delivery.done():
                await waiting.put((loop.time() + self.delay, b""))
            await delivery
        finally:
            delivery.cancel()


@contextlib.asynccontextmanager
async def open_proxy(host: str, port: int) -> AsyncIterator[DelayProxy]:
    """Yield a proxy that listens, and close it."""
    proxy = DelayProxy(host, port)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
