"""``warmup`` as the configuration writes it, for all workloads and for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_inferbench.config.project import read_project
from pytest_inferbench.config.warmup_plan import WarmUpPlan, read_warm_up
from pytest_inferbench.errors import InferbenchError


@pytest.mark.parametrize(
    ("value", "plan"),
    [
        ("off", WarmUpPlan(requests=0)),
        (False, WarmUpPlan(requests=0)),
        ("90s", WarmUpPlan(duration=90)),
        (5, WarmUpPlan(duration=5)),
        ({}, WarmUpPlan(requests=64, duration=30)),
        ({"requests": 8}, WarmUpPlan(requests=8)),
        ({"requests": 200, "duration": "2min"}, WarmUpPlan(requests=200, duration=120)),
    ],
)
def test_each_way_to_write_it(value: object, plan: WarmUpPlan) -> None:
    """A word, a duration, or a table of which each key may be left out."""
    assert read_warm_up(value, what="w") == plan


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("of", "^w: "),
        (True, 'w: expected "off", a duration'),
        ([], 'w: expected "off", a duration'),
        ({"request": 5}, "w: unknown key 'request'; did you mean 'requests'"),
        ({"requests": 0}, r"w\.requests: expected a whole number above zero"),
        ({"requests": 1.5}, r"w\.requests: expected a whole number above zero"),
        ({"duration": "0s"}, r"w\.duration"),
    ],
)
def test_what_says_nothing_usable_is_refused(value: object, message: str) -> None:
    """The message names the place, the key and what would go there."""
    with pytest.raises(InferbenchError, match=message):
        read_warm_up(value, what="w")


def test_a_workload_that_says_nothing_takes_that_of_the_project(tmp_path: Path) -> None:
    """One table for all, and each workload may say otherwise; without either it is the default."""
    (tmp_path / "pyproject.toml").write_text(
        """
        [tool.inferbench]
        warmup = "10s"
        [tool.inferbench.workloads]
        steady = { rate = 5, warmup = { requests = 8 } }
        bursty = { rate = 5 }
        own = { from = 1, to = 2, warmup = "off" }
        """,
        encoding="utf-8",
    )
    project = read_project(tmp_path, None)
    assert project.warm_up_of("steady") == WarmUpPlan(requests=8)
    assert project.warm_up_of("own").off
    assert project.warm_up_of("bursty") == project.warm_up_of("unknown") == WarmUpPlan(duration=10)
    (tmp_path / "pyproject.toml").unlink()
    assert read_project(tmp_path, None).warm_up_of("steady") == WarmUpPlan()
