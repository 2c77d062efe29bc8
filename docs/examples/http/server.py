"""A model service without a framework: ``python server.py PORT``. The profile sets how long an answer takes."""

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
        """Readiness: answer 200 once the model is loaded."""
        self.reply({"ready": True})

    def do_POST(self):
        """The endpoint. A verdict can name the parts that Server-Timing reports."""
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
        started = time.perf_counter()
        time.sleep(SECONDS_PER_WORD * len(text.split()))  # a real service would run its model here
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
        """Write no line per request: the time for it would count in the latency."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
