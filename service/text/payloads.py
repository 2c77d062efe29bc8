"""Benchmark payloads: texts of a given length in tokens of the embedded model. Needs no torch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from service.model import tokenizer
from service.text import corpus

MIN_TOKENS: Final = 3
# Words that carry no label, to reach a length exactly once no sentence fits any more.
FILLERS: Final = ("the", "was", "and", "with", "in", "on", "at", "this", "is", "by", "of", "to", "a", "it")
_SENTENCES: Final = 600


def texts_by_token_length(lengths: Sequence[int], seed: int, *, root: Path | None = None) -> list[str]:
    """One text per length, in order, of exactly that many tokens as the embedded model sees it.

    A length counts the two special tokens around a text, so that it is the sequence length which the model computes;
    the shortest is 3. Sentences are drawn from the held-out grammar by ``seed``, all labels alike. Deterministic.
    ``root`` is the cache folder that holds the tokenizer (trained into it in well under a second the first time).

    Raises:
        ValueError: a length is below 3 or above the model's limit of 512.
    """
    for length in lengths:
        if not MIN_TOKENS <= length <= tokenizer.MAX_TOKENS:
            raise ValueError(
                f"a text has from {MIN_TOKENS} to {tokenizer.MAX_TOKENS} tokens with its special ones; got {length}"
            )
    words = tokenizer.obtain(root)
    rng = random.Random(seed)
    sentences = [item.text for item in corpus.held_out(_SENTENCES, seed)]
    # A sentence at the start of a text and one after a space are different tokens, so each is counted as it is used.
    opening = [len(encoding.ids) - 2 for encoding in words.encode_batch(sentences)]
    following = [len(encoding.ids) - 2 for encoding in words.encode_batch([f" {text}" for text in sentences])]
    fillers = [
        word
        for word in FILLERS
        if len(words.encode(f" {word}").ids) == MIN_TOKENS and len(words.encode(word.title()).ids) == MIN_TOKENS
    ]
    if not fillers:
        raise RuntimeError("the tokenizer has no filler word that is one token; the shipped text must hold some")
    return [_text(length - 2, sentences, opening, following, fillers, rng) for length in lengths]


def _text(
    tokens: int,
    sentences: Sequence[str],
    opening: Sequence[int],
    following: Sequence[int],
    fillers: Sequence[str],
    rng: random.Random,
) -> str:
    parts: list[str] = []
    left = tokens
    misses = 0
    while left and misses < 8:
        index = rng.randrange(len(sentences))
        cost = following[index] if parts else opening[index]
        if cost > left:
            misses += 1
            continue
        parts.append(sentences[index])
        left -= cost
    while left:
        word = rng.choice(fillers)
        parts.append(word if parts else word.title())
        left -= 1
    return " ".join(parts)
