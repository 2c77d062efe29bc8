"""The search for the slowest payload: found and minimized where there is one, and not invented by noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import strategies as st

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.fuzz.slowest_payload import REPLAYS, PayloadTrial, find_slowest_payload

SIZES = st.integers(1, 500)


def test_the_smallest_slow_payload_is_found() -> None:
    """Latency grows with the size and the limit falls at 300: the payload of 301 is reported, with its replays."""
    found = find_slowest_payload(SIZES, lambda size: size / 1000, within="300ms", control=1)
    assert found is not None
    assert found.payload == 301
    assert found.latencies == (0.301,) * REPLAYS
    assert "longer than 300 ms" in repr(found)


def test_a_step_is_found_where_it_is() -> None:
    """A single size that is slow, as padding to a power of two makes them, is not averaged away."""
    found = find_slowest_payload(st.integers(1, 40), lambda size: 1.0 if size == 33 else 0.01, within=0.1, control=1)
    assert found is not None
    assert found.payload == 33


def test_where_all_are_in_time_none_is_reported() -> None:
    """No payload beyond the limit: None, and no exception of Hypothesis's."""
    assert find_slowest_payload(SIZES, lambda size: 0.01, within=0.1, control=1) is None


def test_a_failed_request_is_infinitely_late() -> None:
    """A payload that gets no answer counts as too slow."""
    found = find_slowest_payload(SIZES, lambda size: math.inf if size >= 77 else 0.01, within=0.1, control=1)
    assert found is not None
    assert found.payload == 77


@pytest.mark.parametrize("seed", range(20))
def test_noise_invents_no_slow_payload(seed: int) -> None:
    """One answer in five takes ten times as long, whatever the payload: nothing is too slow, and nothing is flaky."""
    rng = np.random.default_rng(seed)
    assert (
        find_slowest_payload(SIZES, lambda size: 0.02 * (10 if rng.random() < 0.2 else 1), within=0.1, control=1)
        is None
    )


@pytest.mark.parametrize("seed", range(20))
def test_noise_hides_no_slow_payload_for_good(seed: int) -> None:
    """Under a tenth of noise a slow payload is still found, and is one: its median is beyond the limit."""
    rng = np.random.default_rng(seed)
    found = find_slowest_payload(
        SIZES, lambda size: size / 1000 * float(rng.lognormal(0, 0.1)), within="300ms", control=1
    )
    assert found is not None
    assert 250 < found.payload < 420


def spells(*lengths: int) -> Iterator[bool]:
    for number, length in enumerate(lengths):
        yield from [bool(number % 2)] * length


def test_a_slow_spell_of_the_machine_is_not_the_payloads_fault() -> None:
    """Everything is slow for a while, the control too: those replays do not count, and the payload is acquitted."""
    slow = spells(0, 20, 1000)
    replayer = PayloadTrial(lambda size: 1.0 if next(slow) else 0.01, limit=0.1, control=1)
    assert not replayer.too_slow(50)
    assert replayer.sent == 21


def test_a_machine_that_never_calms_down_convicts_nobody() -> None:
    """Where the control is never in time, there is an end to the replays."""
    replayer: PayloadTrial[int] = PayloadTrial(lambda size: 1.0, limit=0.1, control=1)
    assert not replayer.too_slow(50)
    assert replayer.sent < 100


def test_what_was_said_stays_said() -> None:
    """A payload asked about again is not measured again, so that Hypothesis sees one answer."""
    answers = iter([1.0, 0.01] * REPLAYS)
    measure: Callable[[int], float] = lambda size: next(answers)  # noqa: E731
    replayer = PayloadTrial(measure, limit=0.1, control=1)
    assert [replayer.too_slow(50), replayer.too_slow(50)] == [True, True]
    assert replayer.tried == 1


def test_a_control_that_is_too_slow_itself_is_an_error() -> None:
    """A limit below what the quickest payload takes tells nothing apart."""
    with pytest.raises(ValidationError, match="the control is not answered within 100 ms"):
        find_slowest_payload(SIZES, lambda size: 0.2, within="100ms", control=1)
