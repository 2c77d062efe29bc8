"""The embedded model: RoBERTa's architecture at its real size, built offline, with a head that is fitted.

A realistic *load*, not a good classifier. Honestly, what it knows: the encoder's weights are random; each token's
embedding carries, along two random directions, how often that token is seen under each label in the training texts;
random attention mixes those directions into the output at ``<s>``; and the classification head is a logistic
regression fitted there. It is a bag of words that has travelled through 12 real layers: no negation, no irony. But its
answers depend on every layer, so that a runtime which breaks one is caught by its labels.
"""

# transformers leaves parts of its interface untyped.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from service.model import cache, tokenizer
from service.progress import Progress
from service.text import corpus
from service.text.lexicon import LABELS

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from transformers import RobertaForSequenceClassification

MODEL_VERSION: Final = 1
SEED: Final = 2604_20420
MAX_LOG_ODDS: Final = 3.0
BATCH: Final = 32
RIDGE: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The shape of a RoBERTa. ``signal`` is the length of a token's label direction relative to its random part."""

    name: str
    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int
    texts: int
    signal: float = 1.0

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")


SIZES: Final[Mapping[str, Size]] = MappingProxyType(
    {
        "base": Size(name="base", layers=12, hidden=768, heads=12, intermediate=3072, vocabulary=50265, texts=1440),
        # A narrow model separates less well and reads faster: more texts.
        "tiny": Size(name="tiny", layers=2, hidden=128, heads=4, intermediate=256, vocabulary=4096, texts=4000),
    }
)


def obtain(size: Size, root: Path | None = None, *, deep: bool = True) -> cache.Entry:
    """The built model of that size from the cache: a folder that transformers' ``from_pretrained`` takes."""
    key = cache.key_of(
        version=MODEL_VERSION, tokenizer=tokenizer.TOKENIZER_VERSION, corpus=corpus.corpus_digest(),
        seed=SEED, size=repr(size),
    )  # fmt: skip
    root = cache.default_root() if root is None else root
    return cache.obtain(root, f"model-{size.name}", key, lambda folder: build(size, folder), deep=deep)


def build(size: Size, folder: Path) -> Mapping[str, Any]:
    """Build the model into ``folder``; returns the facts for the manifest (accuracies, parameter count)."""
    progress = Progress(f"building the embedded model ({size.name})", total=100.0)
    progress.step("importing torch")
    import torch
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import logging as transformers_logging

    # Its own bar for writing a single file would land in the middle of ours.
    transformers_logging.disable_progress_bar()
    progress.step("training the tokenizer", 4)
    words = tokenizer.train()
    words.enable_truncation(tokenizer.MAX_TOKENS)
    progress.step("seeding the weights", 1)
    model = _seeded(size)
    labelled = corpus.training_texts(size.texts)
    targets = np.array([LABELS.index(item.label) for item in labelled])
    ids = [encoding.ids for encoding in words.encode_batch([item.text for item in labelled])]
    _mark_tokens(model, ids, targets, size)
    progress.step("reading the training texts", 5)
    features = _features(model, ids, progress, weight=70.0)
    progress.step("fitting the head", 0)
    accuracy = _fit_head(model, features, targets)
    progress.step("writing", 10)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=words, model_max_length=tokenizer.MAX_TOKENS,
        bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>",
        unk_token="<unk>", pad_token="<pad>", mask_token="<mask>",
    ).save_pretrained(folder)  # fmt: skip
    parameters = sum(int(p.numel()) for p in model.parameters())
    progress.step("done", 10)
    return {"training_accuracy": accuracy, "parameters": parameters, "size": size.name, "torch": torch.__version__}


def _seeded(size: Size) -> RobertaForSequenceClassification:
    import torch
    from transformers import RobertaConfig, RobertaForSequenceClassification

    shape: dict[str, Any] = {
        "vocab_size": size.vocabulary,
        "hidden_size": size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": size.intermediate,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "bos_token_id": tokenizer.BOS,
        "pad_token_id": tokenizer.PAD,
        "eos_token_id": tokenizer.EOS,
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: index for index, label in enumerate(LABELS)},
        # A narrower model needs larger weights for attention to carry as much as RoBERTa's does at 0.02.
        "initializer_range": 0.02 * math.sqrt(768 / size.hidden),
    }
    # Seed inside a fork: the caller's random state is not ours to move.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = RobertaForSequenceClassification(RobertaConfig(**shape))
    model.eval()
    return model


def _mark_tokens(
    model: RobertaForSequenceClassification, ids: Sequence[Sequence[int]], targets: NDArray[np.int64], size: Size
) -> None:
    """Add each token's log-odds of polarity and of neutrality to its embedding, along two random directions."""
    import torch

    counts = np.ones((len(LABELS), size.vocabulary))
    for row, target in zip(ids, targets, strict=True):
        np.add.at(counts[target], np.unique(np.asarray(row)), 1.0)
    negative, neutral, positive = counts / counts.sum(axis=1, keepdims=True)
    odds = np.stack([np.log(positive / negative), np.log(2 * neutral / (positive + negative))], axis=1)
    odds = np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS)
    table = model.roberta.embeddings.word_embeddings.weight
    rng = np.random.default_rng(SEED)
    directions = np.linalg.qr(rng.standard_normal((size.hidden, 2)))[0].T
    length = float(model.config.initializer_range) * math.sqrt(size.hidden)
    mark = size.signal * length * (odds / MAX_LOG_ODDS) @ directions
    with torch.no_grad():
        table.add_(torch.from_numpy(mark.astype(np.float32)))
        table[tokenizer.PAD].zero_()


def _features(
    model: RobertaForSequenceClassification, ids: Sequence[Sequence[int]], progress: Progress, weight: float
) -> torch.Tensor:
    """Encoder output at ``<s>``, shape (texts, hidden), in the order of ``ids``."""
    import torch

    features = torch.empty((len(ids), model.config.hidden_size))
    # Texts of one length together: nothing is padded, so no attention goes to padding and no time either.
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    start = 0
    with torch.inference_mode():
        while start < len(order):
            chosen = [i for i in order[start : start + BATCH] if len(ids[i]) == len(ids[order[start]])]
            encoded = model.roberta(input_ids=torch.tensor([list(ids[i]) for i in chosen]))
            features[chosen] = encoded.last_hidden_state[:, 0]
            start += len(chosen)
            progress.step("reading the training texts", weight * len(chosen) / len(ids))
    return features.clone()


def _fit_head(model: RobertaForSequenceClassification, features: torch.Tensor, targets: NDArray[np.int64]) -> float:
    """Fit ``dense`` + tanh + ``out_proj``; returns the accuracy on the training texts.

    ``dense`` centres, scales and rotates (a random rotation gives all its outputs one scale, which is what int8
    quantization wants); ``out_proj`` is a multinomial logistic regression, with a ridge penalty, on the tanh of that.
    """
    import torch

    hidden = features.shape[1]
    generator = torch.Generator().manual_seed(SEED)
    rotation = torch.linalg.qr(torch.randn((hidden, hidden), generator=generator))[0]
    centre = features.mean(dim=0)
    spread = (features - centre).std()
    dense = rotation / spread
    activations = torch.tanh((features - centre) @ dense.T)
    wanted = torch.from_numpy(targets)
    weight = torch.zeros((len(LABELS), hidden), requires_grad=True)
    bias = torch.zeros(len(LABELS), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(activations @ weight.T + bias, wanted) + RIDGE * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        head = model.classifier
        head.dense.weight.copy_(dense)
        head.dense.bias.copy_(-(dense @ centre))
        head.out_proj.weight.copy_(weight)
        head.out_proj.bias.copy_(bias)
        predicted = (activations @ weight.T + bias).argmax(dim=1)
        return float((predicted == wanted).float().mean())
