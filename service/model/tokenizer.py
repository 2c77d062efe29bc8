"""The embedded tokenizer: byte-level BPE in RoBERTa's format, trained on the shipped text. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from service.model import cache
from service.text import corpus

TOKENIZER_VERSION: Final = 1
TOKENIZER_FILE: Final = "tokenizer.json"
VOCABULARY: Final = 4096
MAX_TOKENS: Final = 512
# RoBERTa's own order: its padding index also fixes where positions start.
SPECIAL_TOKENS: Final = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
BOS, PAD, EOS = 0, 1, 2


def train() -> Tokenizer:
    """A fresh tokenizer. Deterministic; about a second."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus.vocabulary_texts(), trainer)
    # By position: the name of the second parameter differs between versions of the library.
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", EOS), ("<s>", BOS), trim_offsets=True, add_prefix_space=False
    )
    return tokenizer


def obtain(root: Path | None = None) -> Tokenizer:
    """The embedded tokenizer from the cache, trained into it the first time."""
    key = cache.key_of(version=TOKENIZER_VERSION, corpus=corpus.corpus_digest(), size=VOCABULARY)
    entry = cache.obtain(cache.default_root() if root is None else root, "tokenizer", key, _build)
    return load(entry.folder / TOKENIZER_FILE)


def load(path: Path) -> Tokenizer:
    """The tokenizer in a ``tokenizer.json``, with truncation to the model's limit and without padding."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def _build(folder: Path) -> Mapping[str, Any]:
    train().save(str(folder / TOKENIZER_FILE))
    return {"vocabulary": VOCABULARY}
