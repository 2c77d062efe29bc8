"""ONNX Runtime and the bare tokenizers library: serves without importing torch or transformers."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import onnxruntime

from service.engines.padding import groups, pad
from service.model import tokenizer
from service.model.artifacts import GRAPH_FILE
from service.settings import available_cpus

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: See :mod:`service.model.artifacts`; a session would make it one operator again.
_NOT_FUSED = ["SkipLayerNormFusion"]


class OnnxEngine:
    """An artifact (see :mod:`service.model.artifacts`) in inference sessions on the CPU.

    A single text while no other call runs is computed on ``threads_alone`` threads if these are more than ``threads``
    (at most one per CPU that this process may use), in a session of their own: the weights are in memory twice.
    """

    def __init__(self, folder: Path, *, pad: int, threads: int, streams: int = 1, threads_alone: int = 0) -> None:
        graph = folder / GRAPH_FILE
        self._session = _Session(graph, threads, alone=streams == 1)
        threads_alone = min(threads_alone, available_cpus())
        self._alone = _Session(graph, threads_alone, alone=True) if threads_alone > threads else self._session
        self._calls = 0
        self._counting = threading.Lock()
        self._words = tokenizer.load(folder / tokenizer.TOKENIZER_FILE)
        self._pad = pad

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._words.encode_batch(list(texts))]

    def logits(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        with self._counting:
            # Several texts were waiting for each other: more will come meanwhile, and need the other CPUs.
            session = self._alone if len(ids) == 1 and not self._calls else self._session
            self._calls += 1
        try:
            return self._compute(session, ids)
        finally:
            with self._counting:
                self._calls -= 1

    def warm_up(self, ids: Sequence[Sequence[int]]) -> None:
        for session in {self._session, self._alone}:
            self._compute(session, ids)

    def _compute(self, session: _Session, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        parts: list[tuple[list[int], NDArray[np.float32]]] = []
        for group in groups([len(row) for row in ids]):
            padded, mask = pad([ids[i] for i in group], self._pad)
            parts.append((group, session.run(padded, mask)))
        out = np.empty((len(ids), parts[0][1].shape[1]), dtype=np.float32)
        for group, values in parts:
            out[group] = values
        return out


class _Session:
    """The graph with ``threads`` of its own, the caller's included; ``alone``: no other session runs meanwhile.

    Threads of a session wait for each other at every layer. Asleep, they wake up late, and often on the CPU where the
    caller is, where two take as long as one. So where nobody else computes they wait awake until the end of the run
    (no longer, for the event loop and whoever sends the requests need the CPUs too), and if they are as many as the
    CPUs that this process may use, each is bound to one, the caller for the time of its call to the first.
    """

    def __init__(self, graph: Path, threads: int, *, alone: bool) -> None:
        spinning = alone and threads > 1
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        options.add_session_config_entry("session.force_spinning_stop", str(int(spinning)))
        self._cpus: list[int] = []
        if spinning and hasattr(os, "sched_setaffinity") and threads == available_cpus():
            self._cpus = sorted(os.sched_getaffinity(0))
            # CPUs are counted from 1 there, and the caller's is left out.
            others = ";".join(str(cpu + 1) for cpu in self._cpus[1:])
            options.add_session_config_entry("session.intra_op_thread_affinities", others)
        self._session = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=_NOT_FUSED
        )

    def run(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits of a rectangle of token ids. Shapes: (texts, tokens) twice, (texts, labels)."""
        if self._cpus:
            os.sched_setaffinity(0, self._cpus[:1])
        try:
            return cast(
                "NDArray[np.float32]", self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
            )
        finally:
            if self._cpus:
                os.sched_setaffinity(0, self._cpus)
