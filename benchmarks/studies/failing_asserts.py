"""What a failing assert says: ``assert mean < 0.25`` beside a verdict, on the same seeded simulated runs.

    python benchmarks/studies/failing_asserts.py > docs/explanation/failing-asserts.md

A single-server queue (studies/queues.py), 5 runs of 400 requests a side, mean service time 100 ms, utilisation 0.5.
"""

from __future__ import annotations

import numpy as np
from queues import Cell, simulate

from pytest_inferbench import SLO, Run
from pytest_inferbench.judgement.measurement import Measurement, Reference
from pytest_inferbench.runs.environment import Environment
from pytest_inferbench.runs.run import Failure
from pytest_inferbench.workload.arrivals import Poisson
from pytest_inferbench.workload.workload import Workload

MEAN_SERVICE = 0.1
LIMIT = 0.175
RATE = 5.0
HERE = Environment(machine="simulated", cpu="simulated", cpus=1, memory_gib=1.0, system="-", python="-")


def runs(latencies: np.ndarray, *, refused: int = 0) -> tuple[Run, ...]:
    """Turn latencies of shape (runs, requests) into runs; the last ``refused`` requests of each answer 503 at once."""
    found = []
    for seed, latency in enumerate(latencies * MEAN_SERVICE):
        n = latency.size
        due = (np.arange(n) / RATE * 1e9).astype(np.int64)
        status = np.full(n, 200)
        kinds = np.zeros(n, np.uint8)
        if refused:
            latency[-refused:] = 0.002
            status[-refused:], kinds[-refused:] = 503, Failure.STATUS
        found.append(
            Run(
                scheduled_ns=due,
                issued_ns=due + 100_000,
                completed_ns=due + (latency * 1e9).astype(np.int64),
                status=status,
                failure=kinds,
                seed=seed,
                digest=f"schedule {seed}",
                payload_digest=f"payloads {seed}",
            )
        )
    return tuple(found)


def mean(side: tuple[Run, ...]) -> float:
    """The mean latency as a simple test takes it: of the answers that arrived, all runs together."""
    return float(np.concatenate([run.latency_ns for run in side]).mean() / 1e9)


def example(title: str, what: str, simple: str, held: bool, ours: object) -> None:
    """Print one example."""
    before = f"{simple}\n(the test passes)" if held else f"E       {simple}"
    print(f"## {title}\n\n{what}\n\nBefore:\n\n```text\n{before}\n```\n\nAfter:\n\n```text\n{ours!r}\n```\n")


def measurement(candidate: tuple[Run, ...], reference: tuple[Run, ...]) -> Measurement:
    """Both sides as a session with ``--against baseline`` has them."""
    return Measurement(
        workload=Workload("steady", Poisson(RATE), 400 / RATE),
        profile="optimized",
        runs=candidate,
        environment=HERE,
        reference=Reference(label="profile baseline", runs=reference),
    )


def main() -> None:
    """Print the page."""
    print("# A failing assert, before and after\n")
    print(
        "This page compares the output of `assert mean < limit` with that of a verdict for the same requests. The\n"
        "latencies come from a simulated single-server queue, with 5 runs of 400 requests for reference and candidate\n"
        "(seed 1). The command `python benchmarks/studies/failing_asserts.py` printed this page.\n"
    )
    rng = np.random.default_rng(1)
    old, new = simulate(Cell(slower=1.12), 1, rng)
    reference, slower = runs(old[0]), runs(new[0])
    found = measurement(slower, reference)
    example(
        "A limit is missed",
        "The service takes 12 % longer for each request. The assert does not show by how much the limit is missed, for "
        "how many requests, or whether chance could explain it.",
        f"assert {mean(slower)!r} < {LIMIT}",
        mean(slower) < LIMIT,
        found.meets(SLO(p95="350ms", error_rate="1%")),
    )
    before = mean(reference)
    example(
        "The service got slower",
        "The same runs, compared with the service before the change. A comparison of two means gives no confidence.",
        f"assert {mean(slower)!r} < {before!r} * 1.05",
        mean(slower) < before * 1.05,
        found.has_not_regressed(metrics=("p50", "p95"), margin="5%"),
    )
    old, new = simulate(Cell(), 1, rng)
    refusing = runs(new[0], refused=16)
    example(
        "The service rejects requests quickly",
        "The service refuses 4 % of the requests within 2 ms. This improves the mean.",
        f"assert {mean(refusing)!r} < {LIMIT}",
        mean(refusing) < LIMIT,
        measurement(refusing, runs(old[0])).meets(SLO(p95="500ms", error_rate="1%")),
    )


if __name__ == "__main__":
    main()
