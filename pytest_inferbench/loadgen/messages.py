"""Messages between the generator and its worker: a JSON header, then named arrays as raw bytes. No pickle."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

import numpy as np
from numpy.typing import NDArray

__all__ = ["Message", "dumps", "loads", "receive", "send"]

_MAGIC = b"IFB2"
_HEAD = struct.Struct(">4sI")


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message: what ``kind`` it is, small facts as JSON values, and 1-D arrays by name.

    A repr shows the kind alone: the facts of a job hold the tokens of the target's headers.
    """

    kind: str
    facts: Mapping[str, object] = field(default_factory=dict, repr=False)
    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict, repr=False)


def encode_header(message: Message) -> bytes:
    """Return the bytes that go before the arrays' own; the whole message if it has none."""
    arrays = [[name, array.dtype.str, array.size] for name, array in message.arrays.items()]
    header = json.dumps({"kind": message.kind, "facts": message.facts, "arrays": arrays}).encode()
    return _HEAD.pack(_MAGIC, len(header)) + header


def send(stream: IO[bytes], message: Message) -> None:
    """Write one message and flush. Raises OSError (BrokenPipeError) if the other side is gone."""
    stream.write(encode_header(message))
    for array in message.arrays.values():
        if array.size:  # a memoryview of an empty array cannot be cast
            stream.write(np.ascontiguousarray(array).data.cast("B"))
    stream.flush()


def receive(stream: IO[bytes]) -> Message:
    """Read one message. Raises EOFError if the other side ends before its last byte, ValueError if it is garbled."""
    magic, length = _HEAD.unpack(_exactly(stream, _HEAD.size))
    if magic != _MAGIC:
        raise ValueError(f"not a message: it starts with {magic!r}")
    header = json.loads(_exactly(stream, length))
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, dtype, size in header["arrays"]:
        array = np.empty(size, np.dtype(dtype))
        if size:
            _fill(stream, array.data.cast("B"))
        arrays[name] = array
    return Message(header["kind"], header["facts"], arrays)


def dumps(message: Message) -> bytes:
    """Return one message as bytes: for a carrier that has no stream."""
    stream = io.BytesIO()
    send(stream, message)
    return stream.getvalue()


def loads(data: bytes) -> Message:
    """Return the message that ``data`` holds. Raises as :func:`receive` does."""
    return receive(io.BytesIO(data))


def _exactly(stream: IO[bytes], size: int) -> bytes:
    buffer = bytearray(size)
    _fill(stream, memoryview(buffer))
    return bytes(buffer)


def _fill(stream: IO[bytes], view: memoryview) -> None:
    filled = 0
    while filled < len(view):
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]  # every buffered reader has it
        if not count:
            raise EOFError(f"the stream ended {len(view) - filled} bytes early")
        filled += count
