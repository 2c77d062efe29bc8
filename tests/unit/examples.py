"""Values that several unit tests start from: runs with known latencies, a measurement, an environment."""

from __future__ import annotations

from typing import Any

import numpy as np

from pytest_inferbench.judgement.measurement import Measurement
from pytest_inferbench.judgement.validity import Finding
from pytest_inferbench.runs.environment import Environment
from pytest_inferbench.runs.run import Failure, Run
from pytest_inferbench.workload.arrivals import Poisson
from pytest_inferbench.workload.workload import Workload

ENVIRONMENT = Environment(
    machine="cpu-x-2cpu",
    cpu="CPU x",
    cpus=2,
    memory_gib=7.8,
    system="Linux 6.1",
    python="3.12.1",
    packages={"numpy": "2.1.0"},
    revision="abc123",
)
#: What a result says of the session's settings.
SETTINGS: dict[str, Any] = {
    "profiles": ["optimized"],
    "against": None,
    "repeats": 5,
    "duration": 10.0,
    "budget": None,
    "seed": 0,
    "alpha": 0.05,
    "strict": False,
}
STEADY = Workload("steady", Poisson(40), 10.0)
INVALID = Finding("issue-delay", "invalid", "it left 80 ms late", 0.8, 0.25, "lower the rate")
SERVICE = Finding("died", "service", "every one of the last 40 requests failed", 40, 10, "see the log")


def run(*, seed: int = 0, factor: float = 1.0, n: int = 400, failed: int = 0, **changes: Any) -> Run:
    """A run of ``n`` requests, 25 ms apart, exponential latencies of mean ``factor`` times 50 ms above 20 ms.

    The same seed has the same latencies but for ``factor``; the last ``failed`` requests were reset.
    """
    rng = np.random.default_rng(seed)
    due = np.arange(n, dtype=np.int64) * 25_000_000
    latency = (factor * (rng.exponential(0.05, n) + 0.02) * 1e9).astype(np.int64)
    kinds = np.zeros(n, np.uint8)
    status = np.full(n, 200)
    if failed:
        kinds[-failed:], status[-failed:] = Failure.RESET, 0
    facts: dict[str, Any] = {
        "scheduled_ns": due,
        "issued_ns": due + 100_000,
        "completed_ns": due + latency,
        "status": status,
        "failure": kinds,
        "seed": seed,
        "digest": f"schedule {seed}",
        "payload_digest": f"payloads {seed}",
    }
    return Run(**{**facts, **changes})


def runs(count: int = 5, *, factor: float = 1.0, noise: float = 0.004, **changes: Any) -> tuple[Run, ...]:
    """``count`` runs of seeds 0, 1, ...; each boot is off by ``noise`` in its own way."""
    rng = np.random.default_rng(int(1000 * factor))
    boots = factor * np.exp(noise * rng.standard_normal(count))
    return tuple(run(seed=seed, factor=float(boot), **changes) for seed, boot in enumerate(boots))


def measurement(**changes: Any) -> Measurement:
    """A measurement of ``steady`` under ``optimized`` without a reference."""
    facts: dict[str, Any] = {
        "workload": STEADY,
        "profile": "optimized",
        "runs": runs(),
        "environment": ENVIRONMENT,
        "no_reference": "no baseline of t.py::test_x; record one",
    }
    return Measurement(**{**facts, **changes})
