"""A service of workers under a manager that replaces those that end: ``python forking_service.py PORT WORKERS``.

The manager holds the listening socket and serves nothing itself. Its profile's ``runtime`` may hold ``delay`` (seconds
per answer), ``respawn`` (false: who ends is gone), ``boot`` (seconds until a worker accepts) and ``idle`` (how many
workers never accept). An answer names the pid of its worker, and is a line in answers.jsonl that says how many this
worker had given before; every start of a worker is a line in workers.jsonl.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RUNTIME = json.loads(os.environ["INFERBENCH_PROFILE"])["runtime"]
GIVEN = itertools.count()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/readyz":
            with Path("answers.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"pid": os.getpid(), "before": next(GIVEN)}) + "\n")
            time.sleep(RUNTIME.get("delay", 0.0))
        text = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def serve(listener: socket.socket, number: int) -> None:
    time.sleep(RUNTIME.get("boot", 0.0))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while number < RUNTIME.get("idle", 0):
        signal.pause()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.daemon_threads = True
    server.socket.close()
    server.socket = listener
    server.serve_forever(poll_interval=60)


def main() -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen(128)
    workers: set[int] = set()
    ending = []

    def end(*_: object) -> None:
        ending.append(True)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    for number in range(int(sys.argv[2])):
        workers.add(start(listener, number))
    while workers:
        pid, _ = os.wait()
        workers.discard(pid)
        if RUNTIME.get("respawn", True) and not ending:
            workers.add(start(listener, int(sys.argv[2])))


def start(listener: socket.socket, number: int) -> int:
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        serve(listener, number)
        os._exit(0)
    with Path("workers.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"pid": pid}) + "\n")
    return pid


if __name__ == "__main__":
    main()
