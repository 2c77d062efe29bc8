"""Performance-regression tests for model services: open-loop load, SLOs and statistical verdicts, in pytest.

Everything is imported on first use: this package is loaded in every pytest run of everyone who has it installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_inferbench.arrivals import ArrivalProcess, ClosedLoop, Constant, Gamma, Poisson, Replay, Schedule
    from pytest_inferbench.disruption import (
        Cordon,
        CpuPressure,
        DeletePod,
        DisruptionEvent,
        Freeze,
        KillWorker,
        LimitCpu,
        MemoryPressure,
        Restart,
        Scale,
        SlowNetwork,
    )
    from pytest_inferbench.errors import (
        BaselineError,
        ConfigurationError,
        DeploymentError,
        InferbenchError,
        LoadError,
        ValidationError,
    )
    from pytest_inferbench.fingerprint import Environment
    from pytest_inferbench.loadgen import LoadGenerator, Progress, ResponseCheck, Target
    from pytest_inferbench.measurement import Measurement
    from pytest_inferbench.resilience import Impact, Resilience
    from pytest_inferbench.run import ClockOffset, Failure, Run
    from pytest_inferbench.slo import SLO, SloCheck
    from pytest_inferbench.trace import read_trace
    from pytest_inferbench.validity import Finding
    from pytest_inferbench.varying import Ramp, Steps
    from pytest_inferbench.verdict import Comparison, Outcome, Verdict, compare
    from pytest_inferbench.workload import Workload

_MODULES = {
    "arrivals": ("ArrivalProcess", "ClosedLoop", "Constant", "Gamma", "Poisson", "Replay", "Schedule"),
    "disruption": (
        "Cordon",
        "CpuPressure",
        "DeletePod",
        "DisruptionEvent",
        "Freeze",
        "KillWorker",
        "LimitCpu",
        "MemoryPressure",
        "Restart",
        "Scale",
        "SlowNetwork",
    ),
    "errors": (
        "BaselineError",
        "ConfigurationError",
        "DeploymentError",
        "InferbenchError",
        "LoadError",
        "ValidationError",
    ),
    "fingerprint": ("Environment",),
    "loadgen": ("LoadGenerator", "Progress", "ResponseCheck", "Target"),
    "measurement": ("Measurement",),
    "resilience": ("Impact", "Resilience"),
    "run": ("ClockOffset", "Failure", "Run"),
    "slo": ("SLO", "SloCheck"),
    "trace": ("read_trace",),
    "validity": ("Finding",),
    "varying": ("Ramp", "Steps"),
    "verdict": ("Comparison", "Outcome", "Verdict", "compare"),
    "workload": ("Workload",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "SLO",
    "ArrivalProcess",
    "BaselineError",
    "ClockOffset",
    "ClosedLoop",
    "Comparison",
    "ConfigurationError",
    "Constant",
    "Cordon",
    "CpuPressure",
    "DeletePod",
    "DeploymentError",
    "DisruptionEvent",
    "Environment",
    "Failure",
    "Finding",
    "Freeze",
    "Gamma",
    "Impact",
    "InferbenchError",
    "KillWorker",
    "LimitCpu",
    "LoadError",
    "LoadGenerator",
    "Measurement",
    "MemoryPressure",
    "Outcome",
    "Poisson",
    "Progress",
    "Ramp",
    "Replay",
    "Resilience",
    "ResponseCheck",
    "Restart",
    "Run",
    "Scale",
    "Schedule",
    "SloCheck",
    "SlowNetwork",
    "Steps",
    "Target",
    "ValidationError",
    "Verdict",
    "Workload",
    "compare",
    "read_trace",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
