"""Hypothesis strategies for what a model service may be sent: texts by length in tokens, and bodies meant to break it.

Needs ``pip install 'pytest-inferbench[fuzz]'``. Nothing here knows a tokenizer or an endpoint: the length of a text is
whatever function of it is passed in, and a body is bytes with a content type.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from pytest_inferbench.errors import ConfigurationError, ValidationError

try:
    from hypothesis import strategies as st
except ImportError:
    raise ConfigurationError(
        "pytest_inferbench.strategies needs Hypothesis; run: pip install 'pytest-inferbench[fuzz]'"
    ) from None

__all__ = ["Body", "blank_texts", "hostile_bodies", "scripts", "texts", "texts_by_tokens"]

_SPACES = "".join(map(chr, (*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x3000)))
#: Null, the other C0 and C1 controls, marks of direction and of zero width, and code points that are no character.
_CONTROLS = "".join(
    map(
        chr,
        (
            *(*range(0, 9), *range(14, 32), *range(127, 160), 0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F)),
            *(*range(0x2060, 0x2070), 0xFEFF, 0xFFF9, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF, 0x1FFFF, 0x10FFFF, 0xE0001),
        ),
    )
)
#: Single ones, with a skin tone, joined into one, a flag of letters, a flag of tags, a keycap, a variation selector.
_EMOJI = (
    *("\U0001f600", "\U0001f44d\U0001f3fd", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"),
    *("\U0001f1ea\U0001f1fa", "\U0001f3f4\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f"),
    *("1\ufe0f\u20e3", "\u2764\ufe0f\u200d\U0001f525", "\U0001f9d1\U0001f3ff\u200d\U0001f4bb"),
)
_PLAIN = ("the", "phone", "was", "a", "wonderful", "terrible", "service", "I", "don't", "know", "2024", "...", "!")


@lru_cache(maxsize=1)
def scripts() -> Mapping[str, str]:
    """Return the letters and marks of every script that this Python's Unicode knows, by the first word of their names.

    Hangul and CJK ideographs are scripts of thousands of letters; all of them are there.
    """
    found: dict[str, list[str]] = {}
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        if unicodedata.category(character)[0] in "LM":
            name = unicodedata.name(character, "")
            if name:
                found.setdefault(name.partition(" ")[0].partition("-")[0], []).append(character)
    return {name: "".join(characters) for name, characters in sorted(found.items())}


def _pieces() -> st.SearchStrategy[str]:
    """Return words: plain ones first, for that is what they shrink to."""
    foreign = st.sampled_from(list(scripts())).flatmap(
        lambda name: st.text(st.sampled_from(scripts()[name]), min_size=1, max_size=12)
    )
    return st.one_of(
        st.sampled_from(_PLAIN),
        foreign,
        st.sampled_from(_EMOJI),
        st.text(st.sampled_from(_CONTROLS), min_size=1, max_size=4),
        st.builds(lambda letter, times: letter * times, st.sampled_from("aé中\U0001f600\u0301"), st.integers(50, 2000)),
        st.text(st.sampled_from(_SPACES), min_size=1, max_size=8),
    )


def texts(*, max_pieces: int = 40) -> st.SearchStrategy[str]:
    """Texts that are not blank: words of every script, emoji, controls, nulls, very long words, odd white space."""
    joined = st.builds(
        lambda pieces, joint: joint.join(pieces),
        st.lists(_pieces(), min_size=1, max_size=max_pieces),
        st.sampled_from([" ", "", "\n", "\u3000"]),
    )
    return joined.filter(lambda text: bool(text.strip()))


def blank_texts() -> st.SearchStrategy[str]:
    """Nothing, or white space of any kind only."""
    return st.text(st.sampled_from(_SPACES), max_size=50)


def texts_by_tokens(
    length: Callable[[str], int], *, low: int, high: int, varied: bool = True
) -> st.SearchStrategy[str]:
    """Texts of ``low`` to ``high`` tokens as ``length`` counts them (without truncating); they shrink to short ones.

    A number of tokens is drawn, each as likely as the other, and met exactly where the tokenizer lets it be; the
    bounds are always kept. ``varied=False``: of plain words only. Raises ValidationError for bounds that hold nothing.
    """
    if not 0 < low <= high:
        raise ValidationError(f"texts_by_tokens: expected 0 < low <= high, got {low} and {high}")
    pieces = _pieces() if varied else st.sampled_from(_PLAIN)

    def build(tokens: int, words: Sequence[str]) -> str:
        return _cut_to(length, words, tokens)

    drawn = st.builds(build, st.integers(low, high), st.lists(pieces, min_size=1, max_size=12))
    return drawn.filter(lambda text: bool(text.strip()) and low <= length(text) <= high)


def _cut_to(length: Callable[[str], int], words: Sequence[str], tokens: int) -> str:
    """Repeat ``words`` beyond ``tokens``, then cut to the longest start that is no longer; fill up with plain words."""
    once = " ".join(words)
    # A character may be no token of its own, so the text is doubled until it is long enough, or surely will not be.
    text = once
    while length(text) <= tokens and len(text) < 64 * (tokens + len(once)):
        text += " " + text
    least, most = 0, len(text)
    while least < most:
        middle = (least + most + 1) // 2
        if length(text[:middle]) <= tokens:
            least = middle
        else:
            most = middle - 1
    text = text[:least]
    for word in _PLAIN:
        while length(longer := f"{text} {word}" if text else word) <= tokens:
            text = longer
    return text


@dataclass(frozen=True, slots=True)
class Body:
    """A request body. ``expected``: "refused" (a 4xx), or "either" where a service may as well ignore what is odd.

    ``what`` says what is wrong with it. The repr is short, whatever the size.
    """

    content: bytes = field(repr=False)
    content_type: str
    what: str
    expected: Literal["refused", "either"] = "refused"

    def __repr__(self) -> str:
        shown = repr(self.content[:60]) + (f"... ({len(self.content)} bytes)" if len(self.content) > 60 else "")
        return f"Body({self.what}, {self.content_type}, {shown})"


def hostile_bodies(valid: Mapping[str, object], *, huge: int = 10_000_000) -> st.SearchStrategy[Body]:
    """Bodies that are wrong in every way that ``valid``, a JSON object which the service takes, can be wrong.

    Not JSON, JSON that is cut or not an object, missing and additional fields, values of wrong types, deep nesting,
    numbers beyond any type, lone surrogates, other encodings, the wrong content type, and ``huge`` bytes.
    """
    good = json.dumps(valid).encode()
    first = b"{" + json.dumps(min(valid)).encode() + b": "
    kind = "application/json"
    wrong_types = _json_values().filter(lambda value: not isinstance(value, str))
    name = st.sampled_from(sorted(valid))
    return st.one_of(
        st.builds(Body, st.binary(max_size=200).filter(_is_no_json), st.just(kind), st.just("not JSON")),
        st.integers(0, len(good) - 1).map(lambda end: Body(good[:end], kind, "cut short")),
        st.builds(
            lambda key, value: Body(_dumps({**valid, key: value}), kind, f"{key} of a wrong type"), name, wrong_types
        ),
        name.map(lambda key: Body(_dumps({k: v for k, v in valid.items() if k != key}), kind, f"{key} is missing")),
        _json_values()
        .filter(lambda value: not isinstance(value, dict))
        .map(lambda value: Body(_dumps(value), kind, "no object")),
        st.builds(
            lambda key, value: Body(_dumps({**valid, f"{key}_": value}), kind, "one field more", "either"),
            st.text(max_size=10),
            _json_values(),
        ),
        st.builds(_nested, name, st.integers(1, 100_000), st.sampled_from(["[]", "{}"])),
        st.sampled_from(
            [
                Body(first + b"1e999999}", kind, "a number beyond any type"),
                Body(first + b"9" * 5000 + b"}", kind, "a number beyond any type"),
                Body(first + b"NaN}", kind, "not a number"),
                Body(first + b'"a", ' + first[1:] + b"3}", kind, "the same field twice", "either"),
                Body(json.dumps(valid).encode("utf-16"), kind, "UTF-16", "either"),
                Body(b"\xef\xbb\xbf" + good, kind, "a byte order mark", "either"),
                Body(first + b'"\\ud800"}', kind, "a lone surrogate", "either"),
                Body(first + b'"\\udc00 a \\ud800"}', kind, "lone surrogates", "either"),
                Body(first + b'"' + b"a" * huge + b'"}', kind, f"{huge} bytes"),
                Body(b" " * huge, kind, f"{huge} blanks"),
            ]
        ),
        st.sampled_from(
            ["text/plain", "application/xml", "application/octet-stream", "multipart/form-data", "nonsense", "a/b/c;d"]
        ).map(lambda other: Body(good, other, "the wrong content type")),
    )


def _json_values() -> st.SearchStrategy[object]:
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=8,
    )


def _nested(name: str, depth: int, pair: str) -> Body:
    opening = b"[" if pair == "[]" else b'{"a":'
    closing = b"]" if pair == "[]" else b"}"
    content = json.dumps(name).encode() + b":" + opening * depth + b"1" + closing * depth
    return Body(b"{" + content + b"}", "application/json", f"nested {depth} deep")


def _dumps(value: object) -> bytes:
    return json.dumps(value).encode()


def _is_no_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return True
    return False
