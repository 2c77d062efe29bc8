"""A model service without a framework: ``python server.py PORT``. Its profile says how long an answer takes."""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROFILE = json.loads(os.environ.get("INFERBENCH_PROFILE", "{}"))
SECONDS_PER_WORD = PROFILE.get("runtime", {}).get("seconds_per_word", 0.004)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        """Readiness: where the model is loaded, answer 200."""
        self.reply({"ready": True})

    def do_POST(self):
        """The endpoint. What it reports in Server-Timing, the verdict can name."""
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
        started = time.perf_counter()
        time.sleep(SECONDS_PER_WORD * len(text.split()))  # here a model would compute
        spent = 1000 * (time.perf_counter() - started)
        self.reply({"label": "positive"}, timing=f"infer;dur={spent:.3f}")

    def reply(self, answer, timing=None):
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if timing is not None:
            self.send_header("Server-Timing", timing)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        """No line per request: writing it would be part of what is measured."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
