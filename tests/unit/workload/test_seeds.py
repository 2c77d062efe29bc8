"""Random streams: one per dimension, the same for ever."""

from __future__ import annotations

import zlib

import pytest

from pytest_inferbench.workload.seeds import stream


def test_a_stream_is_its_seed_and_its_dimension() -> None:
    """The same two give the same numbers, anything else gives others."""
    drawn = {
        (seed, dimension): tuple(stream(seed, dimension).integers(2**60, size=4))
        for seed in (0, 1)
        for dimension in ("arrivals", "payloads", "bootstrap")
    }
    assert len(set(drawn.values())) == 6
    assert tuple(stream(1, "payloads").integers(2**60, size=4)) == drawn[1, "payloads"]


def test_streams_do_not_change_from_release_to_release() -> None:
    """Stored baselines are replayed by their seeds: other numbers would make every one of them useless."""
    assert stream(0, "arrivals").integers(1000, size=5).tolist() == [773, 863, 981, 467, 315]
    assert stream(7, "payloads").integers(1000, size=5).tolist() == [324, 885, 402, 507, 788]


def test_no_stream_is_that_of_another_seed_and_dimension() -> None:
    """Repeat k uses seed + k: were the two merely added up, one repeat's arrivals would be another's payloads."""
    apart = zlib.crc32(b"payloads") - zlib.crc32(b"arrivals")
    seeds = [0, 1, abs(apart), zlib.crc32(b"payloads") ^ zlib.crc32(b"arrivals")]
    first = {tuple(stream(seed, name).integers(2**60, size=4)) for seed in seeds for name in ("arrivals", "payloads")}
    assert len(first) == 8


def test_a_negative_seed_is_refused() -> None:
    """It does not silently become another seed."""
    with pytest.raises(ValueError, match="non-negative"):
        stream(-1, "arrivals")
