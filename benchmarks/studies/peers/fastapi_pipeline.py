"""FastAPI + ``transformers.pipeline``, as their documentations have it: ``python fastapi_pipeline.py PORT``."""

from __future__ import annotations

import os
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

classifier = pipeline("text-classification", model=os.environ["STUDY_MODEL"], top_k=None, device="cpu")
app = FastAPI()


class Text(BaseModel):
    """The request."""

    text: str


@app.get("/health")
def health() -> str:
    """Answer as soon as the model is loaded."""
    return "ok"


@app.post("/classify")
def classify(body: Text) -> list[Any]:
    """Run in one of FastAPI's threads, as a plain function does."""
    return classifier(body.text, truncation=True)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
