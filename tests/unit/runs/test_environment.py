"""What is recorded of an environment, and which differences to an earlier one are named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.examples import ENVIRONMENT

RECORDED = ENVIRONMENT.to_dict()


def test_what_is_recorded_is_json_and_complete() -> None:
    """The record survives a file, with everything that the environment holds."""
    assert json.loads(json.dumps(RECORDED)) == RECORDED
    fields = {"machine", "cpu", "cpus", "memory_gib", "system", "python", "packages", "revision", "locks"}
    assert set(RECORDED) == fields


def test_the_same_environment_has_no_differences() -> None:
    """Nothing is named where nothing changed, whether it was recorded just now or read from a file."""
    assert ENVIRONMENT.differences(RECORDED) == ()
    assert ENVIRONMENT.differences(json.loads(json.dumps(RECORDED))) == ()


def test_each_difference_is_named_from_old_to_new() -> None:
    """Software that changed, came or went is named with both versions."""
    now = replace(ENVIRONMENT, python="3.13.0", revision="def456", packages={"numpy": "2.2.0", "torch": "2.9"})
    earlier = {**RECORDED, "packages": {"numpy": "2.1.0", "bentoml": "1.4"}}
    assert now.differences(earlier) == (
        "python 3.12.1 -> 3.13.0",
        "revision abc123 -> def456",
        "bentoml 1.4 -> absent",
        "numpy 2.1.0 -> 2.2.0",
        "torch absent -> 2.9",
    )


def test_the_reading_of_the_memory_is_not_a_difference() -> None:
    """Memory is shown; a kernel that reserves a little more of it is no news."""
    assert replace(ENVIRONMENT, memory_gib=7.7).differences(RECORDED) == ()


@pytest.mark.parametrize("packages", [None, [], "numpy", 3])
def test_an_older_or_strange_record_is_compared_as_far_as_it_goes(packages: object) -> None:
    """A record without versions, or with something else in their place, is no error."""
    changes = ENVIRONMENT.differences({"cpu": "CPU x", "cpus": 2, "packages": packages})
    assert changes == (
        "system None -> Linux 6.1",
        "python None -> 3.12.1",
        "revision None -> abc123",
        "numpy absent -> 2.1.0",
    )
