"""What ONNX Runtime serves: the exported graph, and its int8 form, cached by the content hash of their source.

Layers that ONNX Runtime has one operator for (bias and GELU) are fused in the fp32 graph: in the quantized one its
sessions no longer recognize all of them. Residual and layer norm are not: its one operator for both takes longer than
the two that it stands for.
"""

# transformers leaves parts of its interface untyped.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from service.errors import ServiceError
from service.model import cache
from service.model.source import Source
from service.model.tokenizer import MAX_TOKENS, TOKENIZER_FILE
from service.progress import Progress

if TYPE_CHECKING:
    import torch

ARTIFACT_VERSION: Final = 3
GRAPH_FILE: Final = "model.onnx"
OPSET: Final = 18
# The largest difference of logits that an fp32 export may show: float noise, far from any decision.
EXPORT_TOLERANCE: Final = 1e-2


def obtain(source: Source, precision: str, root: Path | None = None, *, deep: bool = True) -> cache.Entry:
    """The artifact of ``source`` at ``precision`` (fp32 or int8): a folder with ``model.onnx`` and ``tokenizer.json``.

    Inputs of the graph: ``input_ids`` and ``attention_mask``, int64, shape (batch, sequence), both axes dynamic;
    output ``logits``, float32, shape (batch, labels). Its ``info`` holds ``pad``, the padding id.
    """
    root = cache.default_root() if root is None else root
    key = cache.key_of(version=ARTIFACT_VERSION, source=source.digest, precision=precision)
    if precision == "fp32":
        return cache.obtain(root, "onnx-fp32", key, lambda folder: _export(source, folder), deep=deep)
    if precision == "int8":
        return cache.obtain(root, "onnx-int8", key, lambda folder: _quantize(source, root, folder), deep=deep)
    raise ServiceError(f"there is no ONNX artifact of precision {precision!r}. There are: fp32, int8.")


def _export(source: Source, folder: Path) -> Mapping[str, Any]:
    progress = Progress("exporting to ONNX", total=100.0)
    progress.step("loading the model")
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    from service.model.lean import lighten

    transformers_logging.disable_progress_bar()
    # Attention as plain matrix products and softmax: the form that runtimes recognize.
    model = AutoModelForSequenceClassification.from_pretrained(source.folder, attn_implementation="eager").eval()
    words = AutoTokenizer.from_pretrained(source.folder)
    words.backend_tokenizer.save(str(folder / TOKENIZER_FILE))

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
            return logits

    wrapped = Logits().eval()
    pad = int(words.pad_token_id)
    # Neither shape is the traced one: an axis that was frozen shows here.
    examples = [_example(batch, length, pad) for batch, length in ((1, 7), (3, 40))]
    with torch.inference_mode():
        wanted = [wrapped(*example) for example in examples]
    lighten(model)
    progress.step("tracing the graph", 15)
    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", max=MAX_TOKENS)}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # The exporter warns of its own deprecations and of packages that this model does not use.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            wrapped, _example(2, 16, pad), dynamo=True, opset_version=OPSET, verbose=False,
            input_names=["input_ids", "attention_mask"], output_names=["logits"], dynamic_shapes=(dynamic, dynamic),
        )  # fmt: skip
    if program is None:
        raise ServiceError(f"torch.onnx.export gave no graph for {source.name}.")
    progress.step("writing the graph", 60)
    program.save(str(folder / GRAPH_FILE))
    progress.step("fusing layers", 5)
    _fuse(folder / GRAPH_FILE)
    progress.step("comparing with the source", 10)
    difference = _largest_difference(folder / GRAPH_FILE, examples, wanted)
    if not difference <= EXPORT_TOLERANCE:
        raise ServiceError(
            f"the ONNX export of {source.name} differs from its source by {difference:.3g} in a logit (at most "
            f"{EXPORT_TOLERANCE} is float noise). The versions of torch and onnxscript may not fit this model."
        )
    progress.step("done", 10)
    return {"pad": pad, "largest_difference": difference, "torch": torch.__version__}


def _fuse(graph: Path) -> None:
    """Replace what ONNX Runtime has one operator for; the graph then runs nowhere else."""
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions("bert")
    options.enable_skip_layer_norm = False
    with _without_advice():
        # The heads and their size are found in the graph. No optimization by a session: it would fit this CPU alone.
        fused = optimize_model(
            str(graph), model_type="bert", num_heads=0, hidden_size=0, opt_level=0, optimization_options=options
        )
        fused.save_model_to_file(str(graph))


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Keep what onnxruntime's tools advise through the root logger, which changes nothing here, to themselves."""
    root_logger, level = logging.getLogger(), logging.getLogger().level
    root_logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root_logger.setLevel(level)


def _example(batch: int, length: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(5, 250, (batch, length), generator=generator)
    mask = torch.ones_like(ids)
    # One padded row, so that the mask is part of what is traced and compared.
    ids[-1, length // 2 :] = pad
    mask[-1, length // 2 :] = 0
    return ids, mask


def _largest_difference(
    graph: Path, examples: Sequence[tuple[torch.Tensor, torch.Tensor]], wanted: Sequence[torch.Tensor]
) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    worst = 0.0
    for (ids, mask), logits in zip(examples, wanted, strict=True):
        got = session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
        worst = max(worst, float(np.abs(logits.numpy() - got).max()))
    return worst


def _quantize(source: Source, root: Path, folder: Path) -> Mapping[str, Any]:
    exported = obtain(source, "fp32", root)
    progress = Progress("quantizing to int8", total=100.0)
    progress.step("weights per channel")
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _without_advice():
        # Seven bits of weight: eight overflow the 16-bit sums of CPUs without VNNI, and labels would depend on the CPU.
        quantize_dynamic(
            exported.folder / GRAPH_FILE, folder / GRAPH_FILE,
            weight_type=QuantType.QInt8, per_channel=True, reduce_range=True,
        )  # fmt: skip
    shutil.copyfile(exported.folder / TOKENIZER_FILE, folder / TOKENIZER_FILE)
    progress.step("done", 100)
    return {"pad": exported.info["pad"], "onnxruntime": onnxruntime.__version__}


def describe(entry: cache.Entry) -> str:
    """One line on an artifact, for the builder's output."""
    size = sum(path.stat().st_size for path in entry.folder.iterdir()) / 1e6
    return f"{entry.folder.name}: {size:.0f} MB, {json.dumps(dict(entry.info), sort_keys=True)}"
