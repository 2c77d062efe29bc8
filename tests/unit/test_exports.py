"""What ``pytest_inferbench`` exports, on purpose."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import pytest_inferbench

#: DESIGN.md, section 3, and what its signatures mention. A name that comes or goes is a decision, made here too.
PUBLIC = {
    *(
        "Poisson",
        "Gamma",
        "Constant",
        "Ramp",
        "Steps",
        "Replay",
        "read_trace",
        "ClosedLoop",
        "ArrivalProcess",
        "Schedule",
    ),
    *("Target", "ResponseCheck", "LoadGenerator", "Progress", "Run", "Turn", "Failure", "ClockOffset"),
    *("Workload", "Measurement", "Environment", "Finding"),
    *("InferenceService", "BoundWorkload", "CapacityFinder", "Capacity", "CostCurve", "find_slowest_payload"),
    *("KillWorker", "Freeze", "Restart", "CpuPressure", "MemoryPressure", "SlowNetwork", "DisruptionEvent"),
    *("DeletePod", "Scale", "LimitCpu", "Cordon"),
    *("Resilience", "Impact"),
    *("compare", "Comparison", "Outcome", "SLO", "SloCheck", "Verdict"),
    *(
        "InferbenchError",
        "ConfigurationError",
        "DeploymentError",
        "LoadError",
        "BaselineError",
        "ValidationError",
        "CapacityError",
    ),
}


def test_the_public_names_are_the_table() -> None:
    """No name is exported by accident, none is lost."""
    assert set(pytest_inferbench.__all__) == PUBLIC
    assert len(pytest_inferbench.__all__) == len(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    """Each name leads to its object, which has a docstring of its own and is listed by dir()."""
    found = getattr(pytest_inferbench, name)
    assert found.__name__ == name
    assert inspect.getdoc(found)
    assert name in dir(pytest_inferbench)


def test_an_unknown_name_is_an_ordinary_attribute_error() -> None:
    """hasattr and tab completion work as on any module."""
    assert not hasattr(pytest_inferbench, "Nothing")
    with pytest.raises(ImportError):
        from pytest_inferbench import Nothing  # type: ignore[attr-defined]  # noqa: F401


def test_it_is_usable_without_pytest() -> None:
    """Schedules, loads and comparisons work in a process that never imports pytest."""
    code = """
import sys
from pytest_inferbench import *
compare([[1.0] * 100] * 3, [[1.0] * 100] * 3).outcome, Gamma(5, 3).schedule(10, 1), Target("/x")
print([name for name in ("pytest", "_pytest") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
