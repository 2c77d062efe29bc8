"""Events: frozen values, and all of them in the union that reports are checked against."""

from __future__ import annotations

import dataclasses
import inspect
from typing import get_args

import pytest

from pytest_inferbench import events

KINDS = get_args(events.Event)


def test_every_event_of_the_module_is_in_the_union() -> None:
    """A kind that is emitted but not in ``Event`` would escape the type checker where reports match on it."""
    defined = {kind for _, kind in inspect.getmembers(events, dataclasses.is_dataclass)}
    assert set(KINDS) == defined
    assert {kind.__name__ for kind in KINDS} <= set(events.__all__)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_a_frozen_value(kind: type) -> None:
    """Whoever hears an event cannot change it for the next one, and its fields are given by name."""
    names = [field.name for field in dataclasses.fields(kind)]
    event = kind(**dict.fromkeys(names, 1))
    assert event == kind(**dict.fromkeys(names, 1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, names[0], 2)
    with pytest.raises(TypeError):
        kind(*[1] * len(names))
