"""BentoML out of the box around ``transformers.pipeline``: ``bentoml serve bentoml_plain:Sentiment``."""

from __future__ import annotations

import os
from typing import Any

import bentoml
from transformers import pipeline


@bentoml.service
class Sentiment:
    """As BentoML's guide has it: no setting changed."""

    def __init__(self) -> None:
        self.classifier = pipeline("text-classification", model=os.environ["STUDY_MODEL"], top_k=None, device="cpu")

    @bentoml.api
    def classify(self, text: str) -> list[Any]:
        """One text per request."""
        return self.classifier(text, truncation=True)
