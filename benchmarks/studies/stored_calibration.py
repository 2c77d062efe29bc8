"""How often a stored baseline sees a regression, and how often it takes a slower machine for one.

    python benchmarks/studies/stored_calibration.py [--quick] [--replicates N] [--seed N]

Prints Markdown tables on simulated queues (one server unless stated, Poisson arrivals, 6 requests/s, 5 runs a system,
1 % noise between boots, 5 % jitter per request, margin 5 %): "same session" is the verdict without any discount,
"before" is the discount that this one replaced (a change must exceed what an M/M/1 queue at a utilisation of two
thirds makes of a machine as slow as the upper end of its interval), "now" is that of `compare(..., stored=True)`.
Every figure is the share of n comparisons that were REGRESSED, in per cent, with the exact (Clopper-Pearson) 95 %
interval of "now".
Minutes; --quick takes seconds.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from gate_calibration import share, table
from numpy.typing import NDArray
from queues import Cell, simulate_with_arrivals

from pytest_inferbench import Outcome, Run, compare
from pytest_inferbench.judgement.comparison import Comparison
from pytest_inferbench.judgement.machine_drift import discount, machine_drift, machine_that_explains
from pytest_inferbench.stats.paired import mean_of_values

Array = NDArray[np.float64]

RATE = 6.0
#: Nanoseconds that the reference computation takes on the unchanged machine.
COMPUTATION = 20e6
#: Its jitter from run to run: standard deviation of the logarithm.
JITTERS = (0.005, 0.015, 0.03)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is simulated: the service's own factor, the machine's, and the power of it that the service is slowed by.

    ``sensitivity`` 0.5: where the reference computation takes 1.44 times as long, the service takes 1.2 times.
    """

    service: float = 1.0
    machine: float = 1.0
    sensitivity: float = 1.0

    @property
    def factor(self) -> float:
        """By which the candidate's service times are longer."""
        return float(self.service * self.machine**self.sensitivity)


def as_runs(arrivals: Array, latencies: Array, utilisation: float) -> tuple[Run, ...]:
    """Return one system's runs from arrivals and latencies in units of the service time, shape (runs, requests)."""
    unit = utilisation / RATE * 1e9
    made = []
    for seed, (due, took) in enumerate(zip(arrivals, latencies, strict=True)):
        scheduled = (due * unit).astype(np.int64)
        completed = scheduled + (took * unit).astype(np.int64)
        status = np.full(due.size, 200)
        made.append(Run(scheduled, scheduled, completed, status, seed=seed, digest=f"schedule {seed}"))
    return tuple(made)


def read(runs: Sequence[Run], factor: float, jitter: float, rng: np.random.Generator) -> tuple[Run, ...]:
    """Return the runs with what the reference computation took beside each."""
    noise = np.exp(jitter * rng.standard_normal(len(runs)))
    return tuple(replace(run, calibration_ns=int(COMPUTATION * factor * n)) for run, n in zip(runs, noise, strict=True))


def replicates(
    cell: Cell, truth: Truth, n: int, rng: np.random.Generator, servers: int = 1
) -> Iterator[tuple[tuple[Run, ...], tuple[Run, ...]]]:
    """Yield n times the runs of both systems, reference first."""
    cell = replace(cell, slower=truth.factor)
    arrivals, reference, candidate = simulate_with_arrivals(cell, n, rng, servers=servers)
    for due, before, after in zip(arrivals, reference, candidate, strict=True):
        yield as_runs(due, before, cell.utilisation), as_runs(due, after, cell.utilisation)


def before(check: Comparison, reference: Sequence[Run], candidate: Sequence[Run]) -> bool:
    """Whether the replaced rule let REGRESSED stand."""
    logs = [
        math.log((c.calibration_ns or 0) / (r.calibration_ns or 1)) for r, c in zip(reference, candidate, strict=True)
    ]
    slower = max(1.0, math.exp(mean_of_values(np.array(logs)).interval(check.alpha)[1]))
    left = 1 - 2 / 3 * slower
    return left > 0 and check.interval[0] > (1 + check.margin) * slower / 3 / left


def regressed(
    cell: Cell, truth: Truth, metric: str, n: int, rng: np.random.Generator, servers: int = 1
) -> Counter[tuple[str, float]]:
    """Count REGRESSED of n comparisons by rule and jitter; ("same session", 0) is that without a discount."""
    counts: Counter[tuple[str, float]] = Counter()
    for reference, candidate in replicates(cell, truth, n, rng, servers):
        plain = compare(reference, candidate, metric=metric)
        if plain.outcome is not Outcome.REGRESSED:
            continue
        counts["same session", 0.0] += 1
        explains = machine_that_explains(plain, reference)  # of the latencies only, and so the same for every jitter
        for jitter in JITTERS:
            sides = read(reference, 1.0, jitter, rng), read(candidate, truth.machine, jitter, rng)
            now = discount(plain, machine_drift(*sides, alpha=plain.alpha), sides[0], explains=explains)
            counts["before", jitter] += before(plain, *sides)
            counts["now", jitter] += now.outcome is Outcome.REGRESSED
    return counts


def rows_of(
    truths: dict[str, Truth],
    grid: Sequence[tuple[int, float, str]],
    n: int,
    rng: np.random.Generator,
    servers: int = 1,
) -> list[list[str]]:
    """Return the rows of a table: requests a run, utilisation, metric, truth, and the shares."""
    rows = []
    for (requests, load, metric), (name, truth) in itertools.product(grid, truths.items()):
        cell = Cell(utilisation=load, requests=requests)
        counts = regressed(cell, truth, metric, n, rng, servers)
        row = [str(requests), f"{load:g}", metric, name, f"{100 * counts['same session', 0.0] / n:.0f}"]
        for jitter in JITTERS:
            row += [f"{100 * counts['before', jitter] / n:.0f}", share(counts["now", jitter], n)]
        rows.append(row)
    return rows


HEADER = ["requests a run", "util", "metric", "truth", "same session"]
HEADER += [f"{rule}, jitter {100 * jitter:g} %" for jitter in JITTERS for rule in ("before", "now")]

FOUND = {"10 % slower": Truth(1.1), "15 % slower": Truth(1.15)}
SLOWER_MACHINE = {f"machine {100 * (m - 1):.0f} % slower": Truth(machine=m) for m in (1.05, 1.2, 1.5)}
OTHER_CORE = {
    "service slowed half as much": Truth(machine=1.2, sensitivity=0.5),
    "service slowed 1.5 times as much": Truth(machine=1.2, sensitivity=1.5),
    "service slowed twice as much": Truth(machine=1.2, sensitivity=2.0),
    "service slowed, the computation not": Truth(1.2),
    "10 % slower, machine 20 % slower": Truth(1.1, 1.2),
    "50 % slower, machine 20 % slower": Truth(1.5, 1.2),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few cells, few replicates: does it run?")
    parser.add_argument("--replicates", type=int, help="comparisons per cell (200; 20 with --quick)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    n = options.replicates or (20 if options.quick else 200)
    rng = np.random.default_rng(options.seed)
    lengths, loads = ((90,), (0.5,)) if options.quick else ((90, 400), (0.2, 0.5, 0.7))
    grid = list(itertools.product(lengths, loads, ("p50", "p95")))
    print(f"n = {n} comparisons per cell and column, 5 runs a system, margin 5 %, alpha 5 %, seed {options.seed}.\n")
    print("## The service got slower, the machine did not\n")
    table(HEADER, rows_of(FOUND, grid, n, rng))
    print("## The machine got slower, and the unchanged service with it\n")
    table(HEADER, rows_of(SLOWER_MACHINE, grid, n, rng))
    print("## The service is not slowed as the reference computation is\n")
    table(HEADER, rows_of(OTHER_CORE, [(90, 0.5, "p50"), (90, 0.5, "p95")], n, rng))
    print("## A service of two workers, each of this utilisation\n")
    both = {"10 % slower": FOUND["10 % slower"], "machine 20 % slower": SLOWER_MACHINE["machine 20 % slower"]}
    shared = np.random.default_rng([options.seed, 2])
    table(HEADER, rows_of(both, [(lengths[0], load, "p95") for load in loads], n, shared, servers=2))


if __name__ == "__main__":
    main()
