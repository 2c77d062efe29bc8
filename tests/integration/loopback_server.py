"""A loopback HTTP server with known behaviour, in a process of its own: run by the ``server`` fixture.

Prints its port, then serves until its stdin ends. The first path segment says how a request is treated; the body of
``/delay`` is the delay in milliseconds, that of ``/together`` how many requests must be waiting before any is answered.
Written on bare sockets' level, so that it can misbehave in every way.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import struct
import sys
import time

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%s\r\nok"


class Server:
    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[dict[str, object]] = []
        self.waiting = 0
        self.together = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        served = 0
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode("latin-1").split("\r\n")
                method, path, _ = line.split(" ")
                headers = {k.lower(): v.strip() for k, _, v in (h.partition(":") for h in rest if h)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if path not in ("/stats", "/reset-stats"):
                    self.requests.append(
                        {"method": method, "path": path, "headers": headers, "body": body.decode("latin-1")}
                    )
                served += 1
                if not await self.answer(path, body, writer, served):
                    return
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, path: str, body: bytes, writer: asyncio.StreamWriter, served: int) -> bool:
        """Answer one request; False ends the connection."""
        action, _, argument = path.strip("/").partition("/")
        match action:
            case "delay":
                start = time.monotonic()
                await asyncio.sleep(float(body) / 1000)
                took = (time.monotonic() - start) * 1000
                asked = float(body)
                timing = f'app;dur={took:.3f}, asked;dur={asked:.0f}, batch;desc="8"'
                writer.write(OK % f"Server-Timing: {timing}\r\n".encode())
            case "together":
                self.waiting += 1
                if self.waiting >= int(body):
                    self.together.set()
                await self.together.wait()
                writer.write(OK % b"")
            case "stall":  # the whole server stops for a while when a body says so
                if body:
                    time.sleep(float(body) / 1000)  # noqa: ASYNC251  # to block the loop is the point
                writer.write(OK % b"")
            case "status":
                reason = f"HTTP/1.1 {argument} Whatever\r\nContent-Length: 2\r\nLocation: /ok\r\n\r\nok"
                writer.write(reason.encode())
            case "hang":
                await asyncio.sleep(3600)
            case "reset" | "reset-second":
                if action == "reset-second" and served == 1:
                    writer.write(OK % b"")
                    return True
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return False
            case "close":
                return False
            case "truncated":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
                await writer.drain()
                return False
            case "garbage":
                writer.write(b"certainly not HTTP\r\n\r\n")
                await writer.drain()
                return False
            case "half":  # the head is there at once, the rest of the body never comes
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
                await writer.drain()
                await asyncio.sleep(3600)
            case "stats":
                text = json.dumps({"connections": self.connections, "requests": self.requests}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(text), text)
                )
                return False
            case "reset-stats":
                self.connections, self.requests, self.waiting = 0, [], 0
                self.together.clear()
                writer.write(OK % b"Connection: close\r\n")
                return False
            case _:
                writer.write(OK % b"")
        return True


async def main(certificate: str | None) -> None:
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    listener = await asyncio.start_server(Server().serve, "127.0.0.1", 0, backlog=1024, ssl=tls)
    print(listener.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, lambda: None if os.read(0, 1) else ended.set())
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
    os._exit(0)
