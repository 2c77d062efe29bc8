"""Events: all of them are in the union that reports are checked against."""

from __future__ import annotations

import dataclasses
import inspect
from typing import get_args

from pytest_inferbench import events

KINDS = get_args(events.Event)


def test_every_event_of_the_module_is_in_the_union() -> None:
    """A kind that is emitted but not in ``Event`` would escape the type checker where reports match on it; and none
    can be changed by an observer before the next one hears it."""
    defined = {kind for _, kind in inspect.getmembers(events, dataclasses.is_dataclass)}
    assert set(KINDS) == defined
    assert all(kind.__dataclass_params__.frozen for kind in KINDS)
    assert {kind.__name__ for kind in KINDS} <= set(events.__all__)
