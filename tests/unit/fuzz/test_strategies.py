"""Strategies for hostile input: what they promise of every example, and that they reach what they name."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from typing import Any

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.strategies import Body, blank_texts, hostile_bodies, scripts, texts, texts_by_tokens

CALM = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)


def words(text: str) -> int:
    """A tokenizer of sorts: the bytes between blanks, and two special tokens around them."""
    return 2 + sum((len(word.encode()) + 3) // 4 for word in text.split())


@CALM
@given(text=texts())
def test_texts_are_never_blank_and_can_be_encoded(text: str) -> None:
    """Every text is one that a JSON body in UTF-8 can carry, with something in it."""
    assert text.strip()
    assert json.loads(json.dumps({"text": text}).encode())["text"] == text
    text.encode()


@CALM
@given(text=blank_texts())
def test_blank_texts_are_blank(text: str) -> None:
    """Nothing is left of them when white space is taken away."""
    assert not text.strip()


@CALM
@given(data=st.data(), low=st.integers(3, 40), more=st.integers(0, 60))
def test_texts_have_the_length_that_was_asked_for(data: st.DataObject, low: int, more: int) -> None:
    """However a text is made up, the length function finds it within the bounds."""
    text = data.draw(texts_by_tokens(words, low=low, high=low + more))
    assert low <= words(text) <= low + more


def test_a_length_is_met_exactly_where_it_can_be() -> None:
    """One token past a limit is what is drawn when asked for, so that truncation is tried."""
    found = find(texts_by_tokens(words, low=513, high=513), lambda text: True, settings=CALM)
    assert words(found) == 513


def test_texts_shrink_to_the_shortest_of_plain_words() -> None:
    """The smallest text of at least 10 tokens has 10, and is of words that can be read."""
    found = find(texts_by_tokens(words, low=3, high=200), lambda text: words(text) >= 10, settings=CALM)
    assert words(found) == 10
    assert found.isascii()


def test_bounds_that_hold_nothing_are_refused() -> None:
    """An upper bound below the lower one is the caller's mistake."""
    with pytest.raises(ValidationError, match="low <= high"):
        texts_by_tokens(words, low=5, high=4)


def test_every_script_is_known() -> None:
    """The scripts of living and dead languages are there, with letters and marks only."""
    known = scripts()
    for name in ("LATIN", "CYRILLIC", "ARABIC", "HEBREW", "DEVANAGARI", "HANGUL", "CJK", "ETHIOPIC", "CUNEIFORM"):
        assert name in known
    assert len(known) > 100
    assert all(unicodedata.category(letter)[0] in "LM" for letters in known.values() for letter in letters[:5])


@pytest.mark.parametrize(
    ("what", "holds"),
    [
        ("a null", lambda text: "\0" in text),
        ("a surrogate pair", lambda text: any(ord(character) > 0xFFFF for character in text)),
        ("a joined emoji", lambda text: "\u200d" in text and "\U0001f468" in text),
        ("text from right to left", lambda text: any(unicodedata.bidirectional(c) == "R" for c in text)),
        ("a very long word", lambda text: any(len(word) >= 1000 for word in text.split())),
        ("white space that is no blank", lambda text: "\u2028" in text),
    ],
)
def test_texts_reach_what_breaks_services(what: str, holds: Any) -> None:
    """Each of these is found among a few thousand examples."""
    assert find(texts(), holds, settings=settings(CALM, max_examples=4000)), what


@CALM
@given(body=hostile_bodies({"text": "fine", "n": 3}, huge=1000))
def test_hostile_bodies_say_what_is_wrong_with_them(body: Body) -> None:
    """Each has bytes, a content type and a reason; the repr is short, whatever the size."""
    assert isinstance(body.content, bytes)
    assert body.what in repr(body)
    assert len(repr(body)) < 500


@pytest.mark.parametrize(
    "what",
    [
        *("not JSON", "cut short", "text of a wrong type", "n is missing", "no object", "one field more", "1000 bytes"),
        *("the wrong content type", "a lone surrogate", "UTF-16", "a number beyond any type", "nested"),
    ],
)
def test_every_kind_of_wrong_is_reached(what: str) -> None:
    """No kind of hostile body is shadowed by the others."""
    bodies = hostile_bodies({"text": "fine", "n": 3}, huge=1000)
    assert find(bodies, lambda body: what in body.what, settings=settings(CALM, max_examples=2000))


def test_without_hypothesis_the_error_names_the_extra() -> None:
    """Only whoever imports this module needs Hypothesis, and is told how to get it."""
    code = """
import sys
sys.modules["hypothesis"] = None
import pytest_inferbench
try:
    import pytest_inferbench.strategies
except pytest_inferbench.ConfigurationError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'pytest-inferbench[fuzz]'" in done.stdout
