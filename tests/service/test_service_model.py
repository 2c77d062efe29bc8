"""The embedded model in its tiny size: its answers carry signal, and every engine gives the same ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, TINY, service_environment
from numpy.typing import NDArray

from service import engines
from service.classifier import Classifier, Queued, Ticket
from service.engines.onnx import OnnxEngine, _Session
from service.engines.padding import groups
from service.errors import ServiceError
from service.model import artifacts, embedded, source
from service.settings import RuntimeSettings, available_cpus
from service.text import corpus
from service.text.lexicon import LABELS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

EAGER = RuntimeSettings(threads=1)
ONNX = RuntimeSettings(engine="onnxruntime", precision="fp32", threads=1)
INT8 = RuntimeSettings(engine="onnxruntime", precision="int8", threads=1)


def _labels(runtime: RuntimeSettings, texts: list[str], cache: Path, batch: int = 1) -> list[str]:
    classifier = Classifier(*engines.load(runtime, TINY, cache))
    found: list[str] = []
    for start in range(0, len(texts), batch):
        answers = classifier.classify([Queued(text, Ticket()) for text in texts[start : start + batch]])
        found.extend(LABELS[int(np.argmax(answer.probabilities))] for answer in answers)
    return found


@pytest.fixture(scope="module")
def held_out() -> list[corpus.LabelledText]:
    return corpus.held_out(400, seed=11)


@pytest.fixture(scope="module")
def eager_labels(tiny_cache: Path, held_out: list[corpus.LabelledText]) -> list[str]:
    return _labels(EAGER, [item.text for item in held_out], tiny_cache)


def test_answers_carry_signal(held_out: list[corpus.LabelledText], eager_labels: list[str]) -> None:
    """Proves at least 80 % accuracy on texts whose templates the head has never seen, for each label too."""
    for label in LABELS:
        right = [got == item.label for got, item in zip(eager_labels, held_out, strict=True) if item.label == label]
        assert sum(right) / len(right) >= 0.8, label


@pytest.mark.parametrize(("runtime", "batch", "least"), [(INT8, 1, 0.98), (INT8, 16, 0.98), (ONNX, 16, 1.0)])
def test_engines_agree_with_eager(
    runtime: RuntimeSettings,
    batch: int,
    least: float,
    tiny_cache: Path,
    held_out: list[corpus.LabelledText],
    eager_labels: list[str],
) -> None:
    """Proves that int8 keeps at least 98 % of 400 labels, alone and in padded batches, and fp32 all of them."""
    got = _labels(runtime, [item.text for item in held_out], tiny_cache, batch)
    same = sum(a == b for a, b in zip(got, eager_labels, strict=True))
    assert same / len(got) >= least


@pytest.mark.skipif(available_cpus() < 2, reason="one CPU has no second thread to give")
def test_more_threads_for_who_is_alone(tiny_cache: Path) -> None:
    """Proves that a lone text is computed in the session of more threads, one beside another and a batch are not, that
    all give the same logits, and that the caller is bound to no CPU afterwards."""
    alone = RuntimeSettings(engine="onnxruntime", precision="int8", threads=1, streams=2, threads_alone=2)
    engine, _ = engines.load(alone, TINY, tiny_cache)
    plain, _ = engines.load(INT8, TINY, tiny_cache)
    assert isinstance(engine, OnnxEngine)
    used: list[object] = []
    compute = engine._compute

    def watched(session: _Session, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        used.append(session)
        if len(used) == 2:
            engine.logits(ids)  # a call while another one runs
        return compute(session, ids)

    engine._compute = watched  # type: ignore[method-assign]
    free = os.sched_getaffinity(0)
    ids = engine.tokenize(["a lovely phone with a poor battery"])
    for _ in range(2):
        np.testing.assert_array_equal(engine.logits(ids), plain.logits(ids))
    np.testing.assert_array_equal(engine.logits(ids * 2), plain.logits(ids * 2))
    assert used == [engine._alone, engine._alone, engine._session, engine._session]
    assert engine._alone is not engine._session
    assert os.sched_getaffinity(0) == free


def test_the_lean_model_is_the_same_function(tiny_cache: Path) -> None:
    """Proves that its last layer computes one row, and that padded batches get the logits of the source."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from service.model.lean import lighten

    folder = source.resolve(TINY, tiny_cache).folder
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.randint(5, 250, (3, 21), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(21) < torch.tensor([[21], [4], [13]])).long()
    ids[mask == 0] = model.config.pad_token_id
    shapes = []
    with torch.inference_mode():
        wanted = model(input_ids=ids, attention_mask=mask).logits
        lighten(model)
        model.roberta.encoder.layer[-1].register_forward_hook(lambda _, __, out: shapes.append(out.shape))
        got = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert shapes == [(3, 1, model.config.hidden_size)]


def test_only_a_known_model_is_made_lean() -> None:
    """Proves that a classifier of another architecture is exported as it is."""
    from transformers import BertConfig, BertForSequenceClassification

    from service.model.lean import lighten

    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    model = BertForSequenceClassification(config)
    before = [type(module) for module in model.modules()]
    lighten(model)
    assert [type(module) for module in model.modules()] == before


def test_text_beyond_the_limit_is_cut(tiny_cache: Path) -> None:
    """Proves that both engines truncate to 512 tokens and give the same answer to what is left."""
    text = "a lovely phone and a wonderful camera " * 200
    for runtime in (EAGER, INT8):
        engine, _ = engines.load(runtime, TINY, tiny_cache)
        ids = engine.tokenize([text])
        assert len(ids[0]) == 512
        assert engine.logits(ids).shape == (1, 3)


def test_serving_onnx_imports_neither_torch_nor_transformers(tiny_cache: Path) -> None:
    """Proves that the light engine stays light: it answers without the heavy libraries being loaded."""
    code = f"""
import json, sys
from service import engines
from service.settings import RuntimeSettings, available_cpus
runtime = RuntimeSettings(engine="onnxruntime", precision="int8")
engines.prepare(runtime, {TINY!r})
engine, rows = engines.load(runtime, {TINY!r})
engine.logits(engine.tokenize(["a lovely phone"]))
print(json.dumps(sorted({{"torch", "transformers"}} & set(sys.modules))))
"""
    env = service_environment(tiny_cache, None)
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == []


def test_the_build_is_deterministic_and_of_the_same_code_path(tiny_cache: Path, tmp_path: Path) -> None:
    """Proves that building again gives the same weights, and that only the shape distinguishes the sizes."""
    again = embedded.obtain(embedded.SIZES["tiny"], tmp_path)
    kept = embedded.obtain(embedded.SIZES["tiny"], tiny_cache)
    assert again.folder.name == kept.folder.name
    from safetensors.numpy import load_file

    one, other = (load_file(entry.folder / "model.safetensors") for entry in (again, kept))
    assert one.keys() == other.keys()
    for name, values in one.items():
        # The order of the sums depends on the number of threads, which is another one in the process that built it.
        np.testing.assert_allclose(values, other[name], rtol=1e-3, atol=1e-3, err_msg=name)


def test_base_has_the_shape_of_roberta() -> None:
    """Proves that the default size is RoBERTa base's: 12 layers of 768, 12 heads, its vocabulary."""
    base = embedded.SIZES["base"]
    assert (base.layers, base.hidden, base.heads, base.intermediate, base.vocabulary) == (12, 768, 12, 3072, 50265)


def test_another_source_is_another_artifact(tiny_cache: Path, tmp_path: Path) -> None:
    """Proves that a changed model folder has another digest, on which artifacts are keyed, and its own label order."""
    original = source.resolve(TINY, tiny_cache)
    folder = tmp_path / "mine"
    folder.mkdir()
    for path in original.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "Positive", "1": "Negative", "2": "Neutral"}
    (folder / "config.json").write_text(json.dumps(config))
    mine = source.resolve(str(folder), tiny_cache)
    assert mine.digest != original.digest
    assert mine.label_rows == (1, 2, 0)


@pytest.mark.parametrize("labels", [{"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, {"0": "good"}, None])
def test_a_model_with_other_labels_is_refused(tmp_path: Path, labels: dict[str, str] | None) -> None:
    """Proves that a model which cannot answer in our three labels is named, before anything is loaded."""
    (tmp_path / "config.json").write_text(json.dumps({"id2label": labels} if labels else {}))
    with pytest.raises(ServiceError, match="INFERBENCH_MODEL"):
        source.resolve(str(tmp_path), tmp_path)


def test_an_unknown_size_names_the_known_ones(tmp_path: Path) -> None:
    """Proves that a mistyped embedded size lists what there is."""
    with pytest.raises(ServiceError, match="embedded:base, embedded:tiny"):
        source.resolve("embedded:huge", tmp_path)


def test_an_unknown_precision_is_refused(tiny_cache: Path) -> None:
    """Proves that an artifact that nobody can build is an error and not a KeyError."""
    with pytest.raises(ServiceError, match="fp32, int8"):
        artifacts.obtain(source.resolve(TINY, tiny_cache), "int4", tiny_cache)


def test_padding_groups_are_a_partition_of_least_cost() -> None:
    """Proves that grouping loses no text, keeps like lengths together and splits what would be mostly padding."""
    lengths = [5, 120, 6, 118, 5]
    found = groups(lengths, call_cost=15)
    assert sorted(index for group in found for index in group) == [0, 1, 2, 3, 4]
    assert {frozenset(group) for group in found} == {frozenset({0, 2, 4}), frozenset({1, 3})}
    assert groups([20, 21, 22], call_cost=15) == [[0, 1, 2]]
    assert groups([]) == []
