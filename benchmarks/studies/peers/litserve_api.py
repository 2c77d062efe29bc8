"""LitServe with its defaults around ``transformers.pipeline``: ``python litserve_api.py PORT``."""

from __future__ import annotations

import os
import sys
from typing import Any

import litserve
from transformers import pipeline


class Sentiment(litserve.LitAPI):
    """One text per request, one request at a time."""

    def setup(self, device: str) -> None:
        self.classifier = pipeline("text-classification", model=os.environ["STUDY_MODEL"], top_k=None, device=device)

    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    def predict(self, x: str) -> list[Any]:
        return self.classifier(x, truncation=True)

    def encode_response(self, output: list[Any]) -> dict[str, object]:
        return {"scores": output}


if __name__ == "__main__":
    server = litserve.LitServer(Sentiment(api_path="/classify"), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
