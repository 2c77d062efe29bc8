"""What a request and its answer hold, as JSON."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, BaseModel, Field

MAX_CHARACTERS: Final = 100_000


def not_blank(text: str) -> str:
    """``text``, unless it is white space only.

    Raises:
        ValueError: it is.
    """
    if not text.strip():
        raise ValueError("text must not be blank")
    return text


Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS), AfterValidator(not_blank)]


class Classification(BaseModel):
    """The most probable label, its probability, and those of all labels."""

    label: str
    score: float
    probabilities: dict[str, float]


class BatchItem(BaseModel):
    """One request in a batch that BentoML collects: the text, and when it arrived (monotonic clock of the machine)."""

    text: str
    arrived_ns: int
