"""Values as plain JSON documents and back, by their annotations: data only, so that reading runs no code of a file."""

from __future__ import annotations

import base64
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union

import numpy as np

__all__ = ["DocumentError", "from_document", "to_document"]

#: A dataclass's document has its name under this key, which no field can have.
_CLASS = "class"
#: Far beyond any seed or count, and still a float.
_MOST = 2**128
_ODD = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
#: Control characters but tab and newline: they could make a terminal show something else than the text.
_CONTROL = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\ufffd")


class DocumentError(ValueError):
    """The value cannot be written so that it can be read again, or the document is not one of such a value."""


def to_document(value: object, kind: Any) -> Any:
    """Return ``value``, which must be of the annotation ``kind``, as JSON: a document that is equal when read back.

    Annotations: numbers, text, bool, None, literals, tuples, mappings by text, arrays, dataclasses of these (exactly
    that class), and unions. Raises DocumentError for anything else. A number of numpy counts as one of Python.
    """
    if isinstance(value, np.generic):
        value = value.item()
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _first(to_document, value, arguments)
    if origin is Literal or kind in (int, float, str, bool, type(None)):
        return _scalar_document(_scalar(value, kind))
    if origin is np.ndarray:
        if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == _dtype(arguments):
            return base64.b64encode(value.astype(_dtype(arguments).newbyteorder("<")).tobytes()).decode("ascii")
    elif origin is tuple:
        if isinstance(value, tuple):
            kinds = _kinds(arguments, len(value))
            return [to_document(item, of) for item, of in zip(value, kinds, strict=True)]
    elif origin is Mapping:
        if isinstance(value, Mapping):
            return {_scalar(name, str): to_document(item, arguments[1]) for name, item in value.items()}
    elif isinstance(kind, type) and is_dataclass(kind) and type(value) is kind:
        known = _fields(kind)
        return {_CLASS: kind.__name__, **{name: to_document(getattr(value, name), of) for name, of in known.items()}}
    raise DocumentError(f"{type(value).__qualname__} where {_name(kind)} was expected")


def from_document(document: object, kind: Any) -> Any:
    """Return the value of the annotation ``kind`` that ``document`` describes; only such a class is ever made.

    Raises DocumentError for a document of another shape: a missing or unknown field, a number that is too large or
    not finite where JSON's own are, an array of a broken length. What the class itself refuses raises its own error.
    Control characters of a text become U+FFFD.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _first(from_document, document, arguments)
    if origin is Literal or kind in (int, float, str, bool, type(None)):
        if kind is float and isinstance(document, dict) and list(document) == ["float"]:
            if (odd := document["float"]) in ("inf", "-inf", "nan"):
                return _ODD[odd]
        elif not (isinstance(document, float) and not math.isfinite(document)):
            value = _scalar(document, kind)
            return value.translate(_CONTROL) if isinstance(value, str) else value
    elif origin is np.ndarray:
        if isinstance(document, str):
            stored = np.frombuffer(base64.b64decode(document, validate=True), _dtype(arguments).newbyteorder("<"))
            return stored.astype(_dtype(arguments))
    elif origin is tuple:
        if isinstance(document, list):
            kinds = _kinds(arguments, len(document))
            return tuple(from_document(item, of) for item, of in zip(document, kinds, strict=True))
    elif origin is Mapping:
        if isinstance(document, dict):
            return {from_document(name, str): from_document(item, arguments[1]) for name, item in document.items()}
    elif isinstance(kind, type) and is_dataclass(kind) and isinstance(document, dict):
        known = _fields(kind)
        if document.keys() == {_CLASS, *known} and document[_CLASS] == kind.__name__:
            return kind(**{name: from_document(document[name], of) for name, of in known.items()})
    raise DocumentError(f"{type(document).__qualname__} where the document of {_name(kind)} was expected")


def _first(convert: typing.Callable[[Any, Any], Any], value: object, kinds: tuple[Any, ...]) -> Any:
    """Return what the first member of a union makes of ``value``."""
    for kind in kinds:
        try:
            return convert(value, kind)
        except DocumentError as error:
            refusal = error
    raise refusal


def _scalar(value: object, kind: Any) -> Any:
    """Return ``value`` if it is exactly of that type; a whole number is a float too."""
    if typing.get_origin(kind) is Literal:
        fits = any(type(value) is type(one) and value == one for one in typing.get_args(kind))
    else:
        fits = type(value) is kind or (kind is float and type(value) is int)
    if not fits or (type(value) is int and abs(value) > _MOST):
        raise DocumentError(f"{type(value).__qualname__} where {_name(kind)} was expected")
    return value


def _scalar_document(value: Any) -> Any:
    if type(value) is float and not math.isfinite(value):
        return {"float": str(value)}
    return value


@cache
def _fields(kind: Any) -> dict[str, Any]:
    """Return the annotation of each field that makes an instance."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


def _kinds(arguments: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return (arguments[0],) * count
    if len(arguments) != count:
        raise DocumentError(f"{count} items where {len(arguments)} were expected")
    return arguments


def _dtype(arguments: tuple[Any, ...]) -> np.dtype[Any]:
    found: np.dtype[Any] = np.dtype(typing.get_args(arguments[1])[0])
    return found


def _name(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else str(kind)
