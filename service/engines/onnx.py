"""ONNX Runtime and the bare tokenizers library: serves without importing torch or transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from service.engines.padding import groups, pad
from service.model import tokenizer
from service.model.artifacts import GRAPH_FILE

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OnnxEngine:
    """An artifact (see :mod:`service.model.artifacts`) in an inference session on the CPU."""

    def __init__(self, folder: Path, *, pad: int, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin between requests take the cores from the event loop and from whoever sends the requests.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = str(folder / GRAPH_FILE)
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._words = tokenizer.load(folder / tokenizer.TOKENIZER_FILE)
        self._pad = pad

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._words.encode_batch(list(texts))]

    def logits(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        parts: list[tuple[list[int], NDArray[np.float32]]] = []
        for group in groups([len(row) for row in ids]):
            padded, mask = pad([ids[i] for i in group], self._pad)
            parts.append((group, self._session.run(["logits"], {"input_ids": padded, "attention_mask": mask})[0]))
        out = np.empty((len(ids), parts[0][1].shape[1]), dtype=np.float32)
        for group, values in parts:
            out[group] = values
        return out
