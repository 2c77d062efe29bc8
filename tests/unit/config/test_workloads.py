"""``[workloads.NAME]``: which process a table describes, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_inferbench.config.workloads import is_renewal, make_process, read_workload
from pytest_inferbench.errors import InferbenchError
from pytest_inferbench.workload.arrivals import ClosedLoop, Constant, Gamma, Poisson, Replay
from pytest_inferbench.workload.varying import Ramp, Steps


@pytest.mark.parametrize(
    ("table", "process"),
    [
        ({"rate": "5/s", "cv": 1}, Poisson(5)),
        ({"rate": 5, "cv": 3}, Gamma(5, 3)),
        ({"process": "constant", "rate": "60/min"}, Constant(1)),
        ({"process": "poisson", "rate": 4}, Poisson(4)),
        ({"from": "1/s", "to": "9/s"}, Ramp(1, 9)),
        ({"process": "ramp", "from": 0, "to": 9, "cv": 2}, Ramp(0, 9, 2)),
        ({"rates": ["5/s", 0, 20]}, Steps([5, 0, 20])),
        ({"concurrency": 4, "requests": 100}, ClosedLoop(4, 100)),
        ({"process": "closed-loop", "concurrency": 4, "requests": 100}, ClosedLoop(4, 100)),
    ],
)
def test_a_table_makes_its_process(table: dict[str, Any], process: object) -> None:
    """Each kind from the keys that only it has, or by name."""
    assert make_process(read_workload(table, "w"), Path()) == process


def test_a_trace_is_found_from_the_root_and_cut_and_scaled(tmp_path: Path) -> None:
    """The path is relative to the configuration; start and scales are those of the table."""
    (tmp_path / "trace.csv").write_text("t,n\n0,1\n10,2\n14,3\n")
    table = read_workload({"trace": "trace.csv", "size": "n", "start": "10s", "time_scale": 0.5}, "w")
    process = make_process(table, tmp_path)
    assert process == Replay([0.0, 2.0], [2, 3])


def test_only_processes_of_one_rate_have_defaults() -> None:
    """A table of nothing, or of a rate, is completed by defaults; a ramp is not."""
    assert is_renewal({})
    assert is_renewal({"process": "constant"})
    assert not is_renewal({"from": 1, "to": 2})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"process": "gama"}, r"w\.process: unknown process 'gama'; did you mean 'gamma'"),
        ({"process": "ramp", "from": 1}, "a ramp process needs 'to'"),
        ({"from": 1, "to": 2, "rate": 3}, r"w\.rate: does not go with a ramp process, which takes from, to, cv"),
        ({"process": "constant", "cv": 2}, r"w\.cv: does not go with a constant process"),
        ({"rates": []}, r"w\.rates: expected a list"),
        ({"rates": "5/s"}, r"w\.rates: expected a list"),
        ({"rates": ["-1/s"]}, "greater than zero"),
        ({"concurrency": 4}, "needs 'requests'"),
        ({"concurrency": 0, "requests": 5}, r"w\.concurrency: expected a whole number"),
        ({"trace": 5}, r"w\.trace: expected text"),
        ({"trace": "x.csv", "time_scale": "2"}, r"w\.time_scale: expected a number"),
        ({"rate": [5]}, r"w\.rate: expected a number, got \[5\]"),
    ],
)
def test_a_table_that_says_nothing_usable_is_refused(table: dict[str, Any], message: str) -> None:
    """The message names the place, the key and what would go there."""
    with pytest.raises(InferbenchError, match=message):
        read_workload(table, "w")
