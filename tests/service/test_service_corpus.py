"""The shipped text: a split that does not leak, a tokenizer that fits it, payloads of exact length."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from service.model import tokenizer
from service.text import corpus
from service.text.lexicon import LABELS
from service.text.payloads import texts_by_token_length


def test_held_out_texts_share_no_template_with_training() -> None:
    """Proves that no frame, and no text, is on both sides of the split."""
    training = corpus.training_texts()
    held_out = corpus.held_out(600, seed=3)
    assert {item.template for item in training}.isdisjoint({item.template for item in held_out})
    assert {item.text for item in training}.isdisjoint({item.text for item in held_out})


def test_labels_are_balanced_and_texts_deterministic() -> None:
    """Proves that chance is one third, and that a seed gives its texts again and another seed others."""
    assert set(Counter(item.label for item in corpus.held_out(300)).values()) == {100}
    assert corpus.held_out(50, seed=1) == corpus.held_out(50, seed=1)
    assert corpus.held_out(50, seed=1) != corpus.held_out(50, seed=2)


def test_labels_cover_every_template() -> None:
    """Proves that a template tells nothing of the label: each one occurs with all three."""
    seen = {(item.template, item.label) for item in corpus.training_texts()}
    assert seen == {(template, label) for template in corpus.TRAINING_TEMPLATES for label in LABELS}


def test_tokenizer_is_deterministic_and_lossless() -> None:
    """Proves that training twice gives the same tokenizer, and that any text survives encoding and decoding."""
    words = tokenizer.train()
    assert words.to_str() == tokenizer.train().to_str()
    text = "Grüße, 北京 🙂 — an unseen zyzzyva!"
    assert words.decode(words.encode(text).ids) == text


def test_tokenizer_has_the_format_of_roberta() -> None:
    """Proves that texts are wrapped in <s> and </s> and that padding has the index that RoBERTa counts from."""
    words = tokenizer.train()
    assert words.encode("a lovely phone").tokens[0] == "<s>"
    assert words.encode("a lovely phone").tokens[-1] == "</s>"
    assert words.token_to_id("<pad>") == tokenizer.PAD


def test_payloads_have_exactly_the_lengths_asked_for(tmp_path: Path) -> None:
    """Proves that every length from the shortest to the model's limit is met to the token, and repeatably."""
    lengths = list(range(3, 513))
    texts = texts_by_token_length(lengths, seed=5, root=tmp_path)
    words = tokenizer.obtain(tmp_path)
    assert [len(encoding.ids) for encoding in words.encode_batch(texts)] == lengths
    assert texts == texts_by_token_length(lengths, seed=5, root=tmp_path)
    assert texts != texts_by_token_length(lengths, seed=6, root=tmp_path)


@pytest.mark.parametrize("length", [-1, 2, 513])
def test_an_impossible_length_is_refused(length: int) -> None:
    """Proves that a length no text can have is an error that names it, not a text of another length."""
    with pytest.raises(ValueError, match=str(length)):
        texts_by_token_length([24, length], seed=0)
