"""What turns bring on a machine that comes in bursts: simulated services, in turns and in whole runs, the same gate.

    python benchmarks/studies/turns_calibration.py [--comparisons 200] [--seed N]

The machine is a two-state process in time: undisturbed, or slower by a factor, for seconds at a time, whichever system
is loaded at that moment. Two systems are measured in whole runs (A, ten seconds of boot, B) and in turns of 1.5 s (A B,
B A, ...), with the same arrivals and payloads, and judged by `compare` with five or eight pairs. What others take of
the CPU in a turn is known to the gate in turns ("weighted"), or withheld from it ("unweighted"). Every figure is a
share of n simulated comparisons, in per cent, with its exact 95 % interval. One process; about ten minutes.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass, replace

import numpy as np
from gate_calibration import share, table
from numpy.typing import NDArray
from queues import Cell as Queue
from queues import sizes_of

from pytest_inferbench import Outcome, Run
from pytest_inferbench.judgement.comparison import compare
from pytest_inferbench.runs.run import Turn

Array = NDArray[np.float64]
SERVICE = 0.02  #: mean service time in seconds
STEP = 0.01  #: of the machine's state, in seconds
TURN, PAUSE, BOOT = 1.5, 0.1, 10.0
DESIGNS = ("whole runs", "turns, unweighted", "turns, weighted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell(Queue):
    """One cell. ``factor``, ``dwell``, ``busy``: how much slower a burst makes everything, how many seconds it lasts on
    average, and the share of the time that bursts take. ``drift``: log speed lost over a pair. The rest is that of a
    queue."""

    factor: float = 1.5
    dwell: float = 2.0
    busy: float = 0.33

    @property
    def duration(self) -> float:
        """Seconds of a run, a whole number of turns."""
        return max(2, round(self.requests * SERVICE / self.utilisation / TURN)) * TURN

    def name(self) -> list[str]:
        """Return the columns that say which cell a row is."""
        arrivals = "Poisson" if self.cv == 1 else f"CV {self.cv:g}"
        arrivals += f", {100 * self.drift:g} % drift" if self.drift else ""
        bursts = "none" if self.factor == 1 else f"x{self.factor:g} for {self.dwell:g} s"
        return [arrivals, f"{self.utilisation:g}", bursts, f"{100 * self.boot_noise:g} %", str(self.requests)]


CELL = ["arrivals", "util", "bursts", "boots", "requests"]


def machine(cell: Cell, seconds: float, rng: np.random.Generator) -> Array:
    """Return the factor by which everything takes longer, one for each hundredth of a second."""
    speed = np.ones(int(seconds / STEP) + 1)
    if cell.factor == 1:
        return speed
    at, bursting = 0.0, bool(rng.random() < cell.busy)
    while at < seconds:
        stays = rng.exponential(cell.dwell if bursting else cell.dwell * (1 - cell.busy) / cell.busy)
        if bursting:
            speed[int(at / STEP) : int((at + stays) / STEP) + 1] = cell.factor
        at, bursting = at + stays, not bursting
    return speed


def pair(cell: Cell, seed: int, rng: np.random.Generator) -> dict[str, tuple[Run, Run]]:
    """Return the runs of one pair, reference and candidate, by design."""
    shape = cell.cv**-2
    rate = cell.requests / cell.duration
    gaps = rng.gamma(shape, 1 / (shape * rate), 3 * cell.requests + 100)
    due = np.cumsum(gaps)
    due = due[due < cell.duration]
    work = cell.utilisation / rate * sizes_of(cell, due.shape, rng)
    turns = (due // TURN).astype(int)
    count = round(cell.duration / TURN)
    speeds = np.exp(cell.boot_noise * rng.standard_normal(2)) * [1.0, cell.slower]
    own = [speed * work * np.exp(cell.jitter * rng.standard_normal(due.size)) for speed in speeds]
    if cell.tail:
        own[1] = np.where(rng.random(due.size) < 0.02, 5 * own[1], own[1])
    first = seed % 2
    whole = machine(cell, 2 * cell.duration + BOOT + 60, rng)
    runs: dict[str, tuple[Run, Run]] = {}
    sides = []
    for side in (0, 1):
        begin = 0.0 if side == first else cell.duration + BOOT
        late = 0.0 if side == first else cell.drift
        sides.append(_run(due, queue(begin + due, own[side] * np.exp(late), whole), seed))
    runs["whole runs"] = (sides[0], sides[1])
    leads = rng.random((count + 1) // 2) < 0.5
    order = [bool(lead) is (half == 0) for lead in leads for half in (0, 1)][:count]
    state = machine(cell, 2 * count * (TURN + PAUSE) + 60, rng)
    found = []
    for side in (0, 1):
        latencies, others = np.empty(due.size), []
        for k in range(count):
            place = 2 * k + (side if order[k] else 1 - side)
            begin = place * (TURN + PAUSE)
            inside = turns == k
            drift = np.exp(cell.drift * place / (2 * count))
            latencies[inside] = queue(begin + due[inside] - k * TURN, own[side][inside] * drift, state)
            others.append(float((state[int(begin / STEP) : int((begin + TURN) / STEP)] > 1).mean()))
        found.append((latencies, others))
    firsts = np.flatnonzero(np.diff(turns, prepend=-1))
    for name in ("turns, unweighted", "turns, weighted"):
        runs[name] = tuple(  # type: ignore[assignment]
            replace(
                _run(due, latencies, seed),
                turns=tuple(
                    Turn(first=int(at), others=others[turns[at]] if name == "turns, weighted" else None)
                    for at in firsts
                ),
            )
            for latencies, others in found
        )
    return runs


def queue(due: Array, work: Array, speed: Array) -> Array:
    """Return the latencies of one server on a machine whose ``speed`` counts when a request is begun."""
    free, latencies = 0.0, np.empty(due.size)
    for i, (at, needs) in enumerate(zip(due.tolist(), work.tolist(), strict=True)):
        begin = max(free, at)
        free = begin + needs * speed[min(int(begin / STEP), speed.size - 1)]
        latencies[i] = free - at
    return latencies


def _run(due: Array, latencies: Array, seed: int) -> Run:
    scheduled = (due * 1e9).astype(np.int64)
    completed = scheduled + (latencies * 1e9).astype(np.int64)
    return Run(
        scheduled_ns=scheduled,
        issued_ns=scheduled,
        completed_ns=completed,
        status=np.full(due.size, 200),
        seed=seed,
        digest=f"{seed}:{due.size}:{due[-1]}",
    )


def outcomes(
    cell: Cell, n: int, rng: np.random.Generator, metric: str, margin: float = 0.05
) -> dict[str, list[Outcome]]:
    """Return what the gate says in ``n`` comparisons, by design."""
    found: dict[str, list[Outcome]] = {design: [] for design in DESIGNS}
    for _ in range(n):
        pairs = [pair(cell, seed, rng) for seed in range(cell.pairs)]
        for design in DESIGNS:
            reference, candidate = zip(*(each[design] for each in pairs), strict=True)
            found[design].append(compare(reference, candidate, metric=metric, margin=margin).outcome)
    return found


def gate_table(
    cells: list[Cell], metrics: tuple[str, ...], n: int, rng: np.random.Generator
) -> dict[str, list[tuple[float, float, float]]]:
    """Print false alarms and PASS of an unchanged service, and how often 10 % is found; return them by design.

    Those of cells with bursts, in per cent.
    """
    rows = []
    figures: dict[str, list[tuple[float, float, float]]] = {design: [] for design in DESIGNS}
    for cell, metric in itertools.product(cells, metrics):
        same = outcomes(cell, n, rng, metric)
        slow = outcomes(replace(cell, slower=1.1), n, rng, metric)
        for design in DESIGNS:
            alarms = share(same[design].count(Outcome.REGRESSED), n)
            passed = 100 * (same[design].count(Outcome.PASS) + same[design].count(Outcome.IMPROVED)) / n
            found = share(slow[design].count(Outcome.REGRESSED), n)
            if cell.factor != 1:
                shares = (
                    100 * np.array([same[design].count(Outcome.REGRESSED), slow[design].count(Outcome.REGRESSED)]) / n
                )
                figures[design].append((float(shares[0]), passed, float(shares[1])))
            rows.append([*cell.name(), str(cell.pairs), metric, design, alarms, f"{passed:.0f}", found])
    table([*CELL, "pairs", "metric", "design", "unchanged: REGRESSED", "PASS", "10 % slower: REGRESSED"], rows)
    return figures


def summary_table(every: list[dict[str, list[tuple[float, float, float]]]]) -> None:
    """Print the means, and the worst, over the cells with bursts of these tables."""
    by_design = {design: np.array([row for figures in every for row in figures[design]]) for design in DESIGNS}
    rows = [
        [name, *(f"{summarize(by_design[design][:, column]):.1f} %" for design in DESIGNS)]
        for name, column, summarize in (
            ("unchanged: REGRESSED, worst cell", 0, np.max),
            ("unchanged: REGRESSED, mean of the cells", 0, np.mean),
            ("unchanged: PASS, mean of the cells", 1, np.mean),
            ("10 % slower: REGRESSED, mean of the cells", 2, np.mean),
            ("10 % slower: REGRESSED, worst cell", 2, np.min),
        )
    ]
    table(["cells with bursts", *DESIGNS], rows)


def tail_table(cells: list[Cell], n: int, rng: np.random.Generator) -> None:
    """Print how often one request in fifty that takes five times as long is found, by design."""
    rows = []
    for cell, metric in itertools.product(cells, ("p99", "p95")):
        found = outcomes(replace(cell, tail=True), n, rng, metric)
        rows.append(
            [*cell.name(), str(cell.pairs), metric] + [share(found[d].count(Outcome.REGRESSED), n) for d in DESIGNS]
        )
    table([*CELL, "pairs", "metric", *DESIGNS], rows)


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    n, rng = options.comparisons, np.random.default_rng(options.seed)
    print(f"n = {n} comparisons per cell and column, margin 5 %, alpha 5 %, seed {options.seed}; turns of {TURN} s.\n")
    bursts = [
        Cell(factor=1.0),
        Cell(factor=1.2, dwell=0.5),
        Cell(factor=1.5, dwell=2.0),
        Cell(factor=2.0, dwell=1.0),
        Cell(factor=3.0, dwell=0.5, busy=0.2),
        Cell(factor=1.5, dwell=10.0),
    ]
    print("## Bursts of the machine, 5 pairs\n")
    every = [gate_table(bursts, ("p50", "p95"), n, rng)]
    print("## The shipped default's 90 requests, other arrivals, utilisations and boots\n")
    burst = Cell(factor=1.5, dwell=2.0)
    more = [
        replace(burst, requests=90, utilisation=0.12),
        replace(burst, cv=3.0),
        replace(burst, utilisation=0.3),
        replace(burst, utilisation=0.7),
        replace(burst, utilisation=0.85),
        replace(burst, boot_noise=0.005),
        replace(burst, boot_noise=0.05),
        replace(burst, factor=1.0, drift=0.05),
    ]
    every.append(gate_table(more, ("p50", "p95"), n, rng))
    print("## 3 % noise between boots, 8 pairs\n")
    eight = [
        Cell(factor=factor, dwell=dwell, boot_noise=0.03, pairs=8) for factor, dwell in ((1, 1), (1.5, 2), (1.5, 10))
    ]
    every.append(gate_table(eight, ("p50", "p95"), n, rng))
    print("## One request in fifty takes five times as long, 8 pairs\n")
    tails = [Cell(factor=factor, dwell=dwell, pairs=8) for factor, dwell in ((1, 1), (1.5, 2), (1.5, 10))]
    tail_table(tails, n, rng)
    print("## Summary of the cells with bursts\n")
    summary_table(every)


if __name__ == "__main__":
    main()
