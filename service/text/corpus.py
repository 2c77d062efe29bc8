"""The labelled corpus: a seeded template grammar, split by *template* into training and held-out.

The same frames serve all three labels, so that a frame tells nothing and the words in its slots tell everything. A
frame belongs to exactly one of the two splits: a held-out text never shares its template with a training text.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from service.text.lexicon import ACTIONS, ADJECTIVES, CLOSINGS, FEELINGS, LABELS, PEOPLE, SUBJECTS, TIMES, Label

TRAINING_SEED: Final = 20_260_420

TRAINING_TEMPLATES: Final[tuple[str, ...]] = (
    "The {subject} was {adj}.",
    "The {subject} looked {adj} and {adj2}.",
    "{time} the {subject} {action}.",
    "I bought a {adj} {subject} {time}.",
    "We had a {adj} {subject} and it {action}.",
    "{person} said the {subject} was {adj}.",
    "{person} was {feeling} with the {subject}.",
    "This is a {adj} {subject}. {closing}",
    "My {subject} {action} {time}.",
    "Their {adj} {subject} {action}.",
    "It is a {adj}, {adj2} {subject}.",
    "After a month the {subject} is {adj}.",
    "{person} gave me a {adj} {subject}.",
    "I feel {feeling} about this {subject}. {closing}",
    "You get a {adj} {subject} here.",
    "The new {subject} {action}. {closing}",
    "Our {subject} has a {adj} finish and a {adj2} case.",
    "They were {feeling} because the {subject} {action}.",
    "Such a {adj} {subject}!",
    "I found the {subject} {adj}. {closing}",
    "{time} {person} saw the {adj} {subject}.",
    "The {subject} and the {subject2} were both {adj}.",
    "Everything about the {subject} is {adj}.",
    "For the price, the {subject} is {adj} and {action}.",
)

HELD_OUT_TEMPLATES: Final[tuple[str, ...]] = (
    "Honestly, that {subject} turned out {adj}. {closing}",
    "When {person} tried the {subject}, it {action}; how {adj}.",
    "What a {adj} {subject} {person} ordered {time}!",
    "{person} called the {subject} {adj} and the {subject2} {adj2}.",
    "Compared with the {subject2}, this {subject} seems {adj}. {closing}",
    "{time} I left {feeling}: the {subject} {action}.",
    "Nobody at work expects a {adj} {subject}, yet it {action}.",
    "All of us were {feeling}, since {person} picked a {adj} {subject}.",
    "Review: {adj} {subject}, {adj2} {subject2}. {closing}",
    "So far every {subject} from this shop {action}. {closing}",
    "Once unpacked, one {subject} proved {adj} while another {action}.",
    "Between you and me, {person} has the {adj} {subject} that {action}.",
)


@dataclass(frozen=True, slots=True)
class LabelledText:
    """One text, its label and the template that it was made from."""

    text: str
    label: Label
    template: str

    def __post_init__(self) -> None:
        if not self.text or self.label not in LABELS:
            raise ValueError(f"a labelled text needs text and one of {', '.join(LABELS)}: {self!r}")


def training_texts(n: int = 1080) -> list[LabelledText]:
    """The first ``n`` training texts, labels and templates in even rotation. Deterministic."""
    return list(_generate(TRAINING_TEMPLATES, n, random.Random(TRAINING_SEED)))


def held_out(n: int, seed: int = 0) -> list[LabelledText]:
    """``n`` texts from templates that no training text has, labels in even rotation. Deterministic per ``seed``."""
    return list(_generate(HELD_OUT_TEMPLATES, n, random.Random(f"held-out-{seed}")))


def vocabulary_texts() -> Iterator[str]:
    """Text to train the tokenizer on: training texts, and every lexicon word often enough to become one token."""
    for labelled in training_texts():
        yield labelled.text
    phrases: list[str] = [*SUBJECTS, *PEOPLE, *TIMES, *(t.format_map(_Blank()) for t in HELD_OUT_TEMPLATES)]
    for table in (ADJECTIVES, ACTIONS, FEELINGS, CLOSINGS):
        for words in table.values():
            phrases.extend(words)
    for phrase in phrases:
        # Three times: the trainer merges pairs that occur at least twice, and a leading space is part of a token.
        yield f"{phrase} {phrase} a {phrase}. {phrase[:1].upper()}{phrase[1:]}"


def corpus_digest() -> str:
    """SHA-256 over all text that a build is made from: another corpus is another model."""
    digest = hashlib.sha256()
    for text in vocabulary_texts():
        digest.update(text.encode() + b"\0")
    for labelled in training_texts():
        digest.update(f"{labelled.label}\0{labelled.text}\0".encode())
    return digest.hexdigest()


class _Blank(dict[str, str]):
    """Fills every slot with nothing, so that only the words of the frame are left."""

    def __missing__(self, key: str) -> str:
        return ""


def _generate(templates: Sequence[str], n: int, rng: random.Random) -> Iterator[LabelledText]:
    if n < 0:
        raise ValueError(f"the number of texts must not be negative, got {n}")
    for index in range(n):
        label = LABELS[index % len(LABELS)]
        template = templates[(index // len(LABELS)) % len(templates)]
        adj, adj2 = rng.sample(ADJECTIVES[label], 2)
        subject, subject2 = rng.sample(SUBJECTS, 2)
        text = template.format(
            adj=adj, adj2=adj2, subject=subject, subject2=subject2,
            person=rng.choice(PEOPLE), time=rng.choice(TIMES), action=rng.choice(ACTIONS[label]),
            feeling=rng.choice(FEELINGS[label]), closing=rng.choice(CLOSINGS[label]),
        )  # fmt: skip
        yield LabelledText(text[0].upper() + text[1:], label, template)
