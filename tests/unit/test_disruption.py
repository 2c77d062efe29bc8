"""Disruptions as values: what they may be, how they are told, and in which order they come."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_inferbench.disruption import (
    Cordon,
    CpuPressure,
    DeletePod,
    Freeze,
    KillWorker,
    LimitCpu,
    MemoryPressure,
    Restart,
    Scale,
    SlowNetwork,
    check_disruptions,
    describe_disruption,
    disruption_identity,
)
from pytest_inferbench.errors import ValidationError


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (KillWorker, {"at": -1}, "KillWorker(at=...)"),
        (KillWorker, {"at": True}, "KillWorker(at=...)"),
        (KillWorker, {"at": "soon"}, "cannot read 'soon'"),
        (KillWorker, {"at": None}, "expected seconds"),
        (KillWorker, {"at": float("nan")}, "must be finite"),
        (KillWorker, {"at": 1, "workers": 0}, 'from 1 to 1024 or "all"'),
        (KillWorker, {"at": 1, "workers": "some"}, 'from 1 to 1024 or "all"'),
        (Freeze, {"at": 1, "duration": 0}, "Freeze(duration=...)"),
        (Restart, {"at": 1, "pause": -1}, "Restart(pause=...)"),
        (CpuPressure, {"at": 1, "processes": 1.5}, "CpuPressure(processes=...)"),
        (MemoryPressure, {"at": 1, "amount": "much"}, "MemoryPressure(amount=...)"),
        (MemoryPressure, {"at": 1, "amount": 0}, "at least one byte"),
        (SlowNetwork, {"at": 1, "delay": float("inf")}, "must be finite"),
        (DeletePod, {"at": 1, "pods": 0}, 'from 1 to 1000 or "all"'),
        (DeletePod, {"at": 1, "forced": 1}, "DeletePod(forced=...)"),
        (Scale, {"at": 1, "replicas": -1}, "from 0 to 1000"),
        (LimitCpu, {"at": 1, "cpu": "much"}, "LimitCpu(cpu=...)"),
        (LimitCpu, {"at": 1, "cpu": "0m"}, "LimitCpu(cpu=...)"),
        (Cordon, {"at": 1, "duration": 0}, "Cordon(duration=...)"),
    ],
)
def test_what_cannot_be_meant_is_refused(kind: Any, given: dict[str, Any], said: str) -> None:
    """Each parameter is validated when the value is made, by a message that names it."""
    with pytest.raises(ValidationError) as caught:
        kind(**given)
    assert said in str(caught.value)


def test_parameters_are_given_by_name() -> None:
    """A bare number does not say whether it is an instant or a duration."""
    with pytest.raises(TypeError):
        KillWorker(5)  # type: ignore[call-arg, misc]


def test_quantities_are_read_and_equal_values_are_equal() -> None:
    """Text and numbers of the same quantity make the same value."""
    assert Freeze(at="1500ms", duration="2s") == Freeze(at=1.5, duration=2)
    assert MemoryPressure(at=0, amount="1GiB").amount == 2**30
    assert KillWorker(at=0).at == 0.0
    assert LimitCpu(at=1, cpu="250m") == LimitCpu(at=1, cpu=0.25)


def test_they_are_told_in_words_and_in_plain_values() -> None:
    """The description has kind, instant, duration and the rest; the identity every parameter."""
    assert describe_disruption(Freeze(at=5, duration=2)) == "Freeze at 5.00 s for 2.00 s, workers 1"
    assert disruption_identity(SlowNetwork(at=1)) == {"kind": "SlowNetwork", "at": 1.0, "duration": 5.0, "delay": 0.1}


def test_they_come_in_the_order_of_their_instants() -> None:
    """The list may be in any order."""
    late, early = KillWorker(at=4), Restart(at=1)
    assert check_disruptions([late, early], duration=5) == (early, late)


@pytest.mark.parametrize(
    ("given", "said"),
    [("KillWorker", "must be a list"), ([5], "is none of KillWorker"), ([KillWorker(at=5)], "would come after")],
)
def test_what_is_no_plan_is_refused(given: Any, said: str) -> None:
    """Neither a text, nor a number, nor an instant beyond the run is a disruption of it."""
    with pytest.raises(ValidationError, match=said):
        check_disruptions(given, duration=5)
