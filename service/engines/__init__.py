"""What computes: one module per engine, imported only when a profile asks for it, behind one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from service.model import artifacts, source
from service.settings import RuntimeSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Engine(Protocol):
    """A loaded model. Thread-safe."""

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with special tokens, at most 512 per text: longer texts are truncated."""
        ...

    def logits(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """The model's raw outputs, shape (len(ids), 3), in the model's own label order."""
        ...

    def warm_up(self, ids: Sequence[Sequence[int]]) -> None:
        """Compute ``ids`` with all that :meth:`logits` may choose from."""
        ...


def prepare(runtime: RuntimeSettings, model: str | None = None, root: Path | None = None) -> None:
    """Build, or verify to the last byte, everything that :func:`load` will need. Raises ServiceError."""
    if runtime.engine == "torch":
        source.resolve(model, root)
    else:
        # Serving reads the artifact only; of the source, its digest in the manifest is enough.
        artifacts.obtain(source.resolve(model, root, deep=False), runtime.precision, root)


def load(
    runtime: RuntimeSettings, model: str | None = None, root: Path | None = None, *, workers: int = 1
) -> tuple[Engine, tuple[int, ...]]:
    """The engine that ``runtime`` names, and the row of its outputs that holds each label (see ``Source``).

    ``workers``: how many processes load one, and share the CPUs.
    """
    threads = runtime.threads_each(workers)
    found = source.resolve(model, root, deep=False)
    if runtime.engine == "torch":
        from service.engines.eager import EagerEngine

        torch_engine = EagerEngine(
            found.folder, precision=runtime.precision, threads=threads, compiled=runtime.compiled
        )
        return torch_engine, found.label_rows
    from service.engines.onnx import OnnxEngine

    entry = artifacts.obtain(found, runtime.precision, root, deep=False)
    engine = OnnxEngine(
        entry.folder,
        pad=int(entry.info["pad"]),
        threads=threads,
        streams=runtime.streams,
        threads_alone=runtime.threads_alone,
    )
    return engine, found.label_rows
