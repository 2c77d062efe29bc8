"""Payloads made ready to send, before the clock starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.errors import ValidationError

__all__ = ["Bodies", "ContentKind", "serialize"]


class ContentKind(IntEnum):
    """What a body is, which decides the ``Content-Type`` it gets unless the target's headers name one."""

    NONE = 0
    JSON = 1
    TEXT = 2
    BYTES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Bodies:
    """The bodies of n requests, each distinct one kept once.

    ``blob``: uint8, the m distinct bodies one after another. ``ends``: int64 (m,), where each ends in the blob.
    ``kinds``: uint8 (m,), a :class:`ContentKind` each. ``index``: int32 (n,), which body request *i* sends.
    """

    blob: NDArray[np.uint8]
    ends: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    index: NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.index.size)

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Bodies:
        """Return the bodies whose four arrays, by field name, are among ``arrays``."""
        return cls(
            blob=cast("NDArray[np.uint8]", arrays["blob"]),
            ends=cast("NDArray[np.int64]", arrays["ends"]),
            kinds=cast("NDArray[np.uint8]", arrays["kinds"]),
            index=cast("NDArray[np.int32]", arrays["index"]),
        )

    @property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The four arrays by field name, as :meth:`of` takes them."""
        return {"blob": self.blob, "ends": self.ends, "kinds": self.kinds, "index": self.index}

    def distinct(self) -> list[bytes]:
        """Return the m distinct bodies."""
        starts = [0, *self.ends.tolist()]
        return [self.blob[a:b].tobytes() for a, b in pairwise(starts)]

    def every(self, first: int, step: int) -> Bodies:
        """Return the bodies of requests ``first``, ``first + step``, ...: those that they send, and no others."""
        if step == 1 and first == 0:
            return self
        used, index = np.unique(self.index[first::step], return_inverse=True)
        starts = np.concatenate(([0], self.ends[:-1]))[used] if self.ends.size else self.ends
        parts = [self.blob[a:b] for a, b in zip(starts.tolist(), self.ends[used].tolist(), strict=True)]
        return Bodies(
            blob=np.concatenate(parts) if parts else self.blob[:0],
            ends=np.cumsum([part.size for part in parts], dtype=np.int64),
            kinds=self.kinds[used],
            index=index.astype(np.int32),
        )

    def digest(self, method: str) -> str:
        """Return what identifies the sequence of requests: the method and every body in order."""
        # Bodies are numbered by first appearance, so equal sequences have equal arrays and only they do.
        digest = hashlib.blake2b(method.encode() + b"\0", digest_size=12)
        for array, dtype in ((self.kinds, "u1"), (self.ends, "<i8"), (self.blob, "u1"), (self.index, "<i4")):
            digest.update(array.astype(dtype, copy=False).tobytes())
        return digest.hexdigest()


def serialize(payloads: Sequence[object]) -> Bodies:
    """Return the bodies of ``payloads``: a dict or list as JSON, bytes as they are, text as UTF-8, None as no body.

    Raises :class:`ValidationError`, naming the position, for anything else or for what JSON cannot express.
    """
    numbers: dict[tuple[ContentKind, bytes], int] = {}
    index = np.empty(len(payloads), np.int32)
    for position, payload in enumerate(payloads):
        index[position] = numbers.setdefault(_encode(payload, position), len(numbers))
    lengths = np.fromiter((len(body) for _, body in numbers), np.int64, len(numbers))
    return Bodies(
        blob=np.frombuffer(b"".join(body for _, body in numbers), np.uint8),
        ends=np.cumsum(lengths, dtype=np.int64),
        kinds=np.fromiter((kind for kind, _ in numbers), np.uint8, len(numbers)),
        index=index,
    )


def _encode(payload: object, position: int) -> tuple[ContentKind, bytes]:
    match payload:
        case None:
            return ContentKind.NONE, b""
        case bytes() | bytearray() | memoryview():
            return ContentKind.BYTES, bytes(payload)
        case str():
            try:
                return ContentKind.TEXT, payload.encode()
            except UnicodeEncodeError as error:
                raise ValidationError(f"payload {position} cannot be sent as UTF-8 text: {error}") from None
        case dict() | list():
            try:
                text = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
                return ContentKind.JSON, text.encode()
            except (TypeError, ValueError) as error:
                raise ValidationError(f"payload {position} cannot be sent as JSON: {error}") from None
        case _:
            raise ValidationError(
                f"payload {position} is a {type(payload).__name__}; give a dict or list (JSON), bytes, str or None"
            )
