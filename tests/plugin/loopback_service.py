"""The service that the plugin's tests boot: ``python loopback_service.py PORT``; its profile says how it behaves.

``runtime`` may hold ``delay`` (seconds per answer), ``answer`` (the same, but the service only states them:
stated_latencies.py), ``busy`` (seconds of computing per answer), ``per_byte`` (seconds stated besides for each byte of
the body), ``step`` (the same from 96 bytes on), ``serial`` (one stated answer at a time), ``spend`` ("queue=0.001,
infer=0.005": seconds stated besides per part of an answer, reported as Server-Timing), ``status`` (of every answer but
the readiness check), ``ready`` (false: never), ``dies_after`` (answers, after which the process exits), ``stubborn``
(ignores SIGTERM), ``exclusive`` (exits if another one is up in the same folder), ``background`` (computes all the
time), ``grandchild`` (starts a process in a session of its own) and ``exit`` (says so and exits before listening).
Every boot appends its facts to boots.jsonl in the working directory, every request to requests.jsonl.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

PROFILE = json.loads(os.environ["INFERBENCH_PROFILE"])
RUNTIME = PROFILE["runtime"]
SPEND = [part.split("=") for part in RUNTIME.get("spend", "").split(",") if part]
PARTS = {name.strip(): float(seconds) for name, seconds in SPEND}
LOCK = threading.Lock()
ANSWERS = iter(range(10**9))


def note(name: str, **facts: object) -> None:
    with LOCK, open(name, "a", encoding="utf-8") as stream:  # noqa: PTH123
        stream.write(json.dumps(facts) + "\n")


def stated(size: int) -> dict[str, float]:
    """Return what the answer to a body of so many bytes states about its latency; nothing without ``answer``."""
    if "answer" not in RUNTIME:
        return {}
    step = RUNTIME.get("step", 0.0) if size >= 96 else 0.0
    seconds = RUNTIME["answer"] + RUNTIME.get("per_byte", 0.0) * size + step + sum(PARTS.values())
    return {"answer": seconds} | ({"serial": 1.0} if RUNTIME.get("serial") else {})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if self.path in ("/readyz", "/up"):
            status = 200 if RUNTIME.get("ready", True) else 503
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            note("requests.jsonl", method=self.command, path=self.path, headers=headers, body=body)
            if RUNTIME.get("dies_after", 10**9) <= next(ANSWERS):
                os._exit(7)
            time.sleep(RUNTIME.get("delay", 0.0))
            until = time.thread_time() + RUNTIME.get("busy", 0.0)
            while time.thread_time() < until:
                pass
            status = RUNTIME.get("status", 200)
        text = b'{"label": "fine"}' if status == 200 else b"the model is broken"
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        parts = PARTS or {"queue": 0.0015, "infer": 0.0025}
        timing = ", ".join(f"{name};dur={seconds * 1e3}" for name, seconds in (parts | stated(len(body))).items())
        self.send_header("Server-Timing", timing)
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def server_bind(self) -> None:
        # HTTPServer's own looks up the host's name, which may take seconds where no resolver answers.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


def compute() -> None:
    while True:
        pass


def main() -> None:
    port = int(sys.argv[1])
    if "exit" in RUNTIME:
        print(RUNTIME["exit"], flush=True)
        raise SystemExit(3)
    if RUNTIME.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if RUNTIME.get("exclusive"):
        lock = open("exclusive.lock", "w")  # noqa: PTH123, SIM115  # held until this process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("there is one licence, and it is in use", flush=True)
            raise SystemExit(4) from None
    if RUNTIME.get("background"):
        threading.Thread(target=compute, daemon=True).start()
    pids = [os.getpid()]
    if RUNTIME.get("grandchild"):
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        pids.append(subprocess.Popen(sleeper, start_new_session=True).pid)
    with Server(("127.0.0.1", port), Handler) as server:
        note("boots.jsonl", pids=pids, port=port, profile=PROFILE)
        print(f"listening on {port} as {PROFILE['name']}", flush=True)
        server.serve_forever(poll_interval=60)


if __name__ == "__main__":
    main()
