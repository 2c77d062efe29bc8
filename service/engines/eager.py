"""Eager PyTorch through transformers: the plainest way to serve a model, and the reference for the others."""

# transformers leaves parts of its interface untyped.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from service.engines.padding import groups, pad
from service.model.tokenizer import MAX_TOKENS

if TYPE_CHECKING:
    from numpy.typing import NDArray


class EagerEngine:
    """A transformers model in eager mode, or ``compiled`` for any length of text.

    ``precision`` is fp32 or bf16; ``threads`` is for the whole process.
    """

    def __init__(self, folder: Path, *, precision: str, threads: int, compiled: bool = False) -> None:
        transformers_logging.disable_progress_bar()
        torch.set_num_threads(threads)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).eval()
        self._forward: Callable[..., Any] = torch.compile(self._model, dynamic=True) if compiled else self._model
        self._words = AutoTokenizer.from_pretrained(folder)
        self._reading = threading.Lock()

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        # It sets its truncation anew with every call, and refuses to while another one runs.
        with self._reading:
            encoded = self._words(list(texts), truncation=True, max_length=MAX_TOKENS, return_attention_mask=False)
        return cast("list[list[int]]", encoded["input_ids"])

    def logits(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        out = np.empty((len(ids), self._model.config.num_labels), dtype=np.float32)
        padding = int(self._words.pad_token_id)
        with torch.inference_mode():
            for group in groups([len(row) for row in ids]):
                padded, mask = pad([ids[i] for i in group], padding)
                result = self._forward(input_ids=torch.from_numpy(padded), attention_mask=torch.from_numpy(mask))
                out[group] = result.logits.float().numpy()
        return out

    def warm_up(self, ids: Sequence[Sequence[int]]) -> None:
        self.logits(ids)
