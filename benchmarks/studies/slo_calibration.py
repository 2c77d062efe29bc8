"""How often an SLO is called MET where the true percentile lies at the limit, and 15 % below it; before and after.

    python benchmarks/studies/slo_calibration.py [--quick] [--measurements N] [--seed N] [--only TABLE]

The limit is the percentile of *all* requests that the workload would make of the service, over all boots and all
arrivals: of them exactly 5 % take longer, for p95. Prints Markdown tables; every figure is a share of N simulated
measurements, in per cent. One process, minutes; --quick takes seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from queues import Cell, simulate
from scipy import special

from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.stats.proportions import clopper_pearson
from pytest_inferbench.stats.quantiles import samples_needed

Array = NDArray[np.float64]

PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
ALPHA = 0.05
#: The limit is this much of the true value where the service keeps it: the true value is 15 % below it.
ROOM = 1 / 0.85
TRUTH = 1_000_000


@dataclass(frozen=True, slots=True)
class Service:
    """``sigma``: independent log-normal latencies of that width, 0 the requests of ``cell``'s queue."""

    name: str
    cell: Cell
    sigma: float = 0.0

    def measurements(self, n: int, rng: np.random.Generator) -> Array:
        """Return latencies of shape (n, runs, requests)."""
        shape = (n, self.cell.pairs, self.cell.requests)
        if self.sigma:
            boots = self.cell.boot_noise * rng.standard_normal((*shape[:2], 1))
            return np.exp(self.sigma * rng.standard_normal(shape) + boots)
        return simulate(self.cell, n, rng)[0]


SERVICES = [
    *(Service(f"independent, log-normal {sigma}", Cell(), sigma) for sigma in (0.05, 0.1, 0.2, 0.3)),
    Service("nearly idle, by payload size", Cell(utilisation=0.01)),
    *(
        Service(f"{'Poisson' if cv == 1 else f'CV {cv:g}'}, utilisation {load}", Cell(cv=cv, utilisation=load))
        for cv in (1.0, 3.0)
        for load in (0.5, 0.7, 0.85)
    ),
]


#: Its requests vary less than its boots.
EVEN = [Service("independent, log-normal 0.03", Cell(), 0.03)]


def truth(service: Service, p: float, rng: np.random.Generator) -> float:
    """Return the percentile of all requests of all boots."""
    each = service.cell.pairs * service.cell.requests
    parts = [service.measurements(TRUTH // each // 10, rng).ravel() for _ in range(10)]
    return float(np.quantile(np.concatenate(parts), p))


def old_upper(latencies: Array, p: float) -> Array:
    """Return the upper end of the interval as it was: Student's t over the logarithm of one quantile per run.

    With fewer than 8 runs an end below one second was held to alpha / 2, unless the signed ranks agreed.
    """
    logs = np.log(0.02 * np.quantile(latencies, p, axis=-1))  # a service time of 20 ms
    k = logs.shape[-1]
    mean, se = logs.mean(axis=-1), logs.std(axis=-1, ddof=1) / np.sqrt(k)
    plain, strict = (mean - special.stdtrit(k - 1, level) * se for level in (ALPHA, ALPHA / 2))
    ends: Array = np.exp(np.maximum(plain, np.minimum(strict, logs.max(axis=-1)))) / 0.02
    return ends


def simple_met(latencies: Array, limit: float, p: float) -> Array:
    """Return whether the exact bound for *independent* requests is within the limit: the most that any rule that looks
    at the share of late requests only can find where they are independent."""
    late = (latencies > limit).sum(axis=(1, 2))
    n = latencies[0].size
    bound = {int(count): clopper_pearson(int(count), n, ALPHA)[1] for count in np.unique(late)}
    return np.array([bound[int(count)] <= 1 - p for count in late])


def row(service: Service, metric: str, n: int, seed: int) -> dict[str, float]:
    """Return the shares in per cent of n measurements with the limit at the truth, and with room."""
    p, requests, runs = PERCENTILES[metric], service.cell.requests, service.cell.pairs
    limit = truth(service, p, np.random.default_rng([seed, 1]))
    found: dict[str, list[Array]] = {"old": [], "simple": [], "met": [], "missed": []}
    rng = np.random.default_rng([seed, 2])
    for start in range(0, n, 250):
        latencies = service.measurements(min(250, n - start), rng)
        ends = old_upper(latencies, p)
        if requests * runs < samples_needed(p, ALPHA):
            ends[:] = np.inf
        found["old"].append(np.array([ends <= limit, ends <= ROOM * limit]))
        found["simple"].append(np.array([simple_met(latencies, at, p) for at in (limit, ROOM * limit)]))
        checks = [SLO(**{metric: limit}).check(list(runs))[0] for runs in latencies]
        # MET is an interval wholly within the limit, whichever the limit is.
        highs = np.array([check.interval[1] for check in checks])
        assert [check.outcome is Outcome.MET for check in checks] == (highs <= limit).tolist()
        found["met"].append(np.array([highs <= at for at in (limit, ROOM * limit)]))
        missed = [check.outcome is Outcome.MISSED for check in checks]
        found["missed"].append(np.array([missed, missed]))
    return {
        f"{name} {where}": 100 * float(share)
        for name, parts in found.items()
        for where, share in zip(("at", "room"), np.concatenate(parts, axis=1).mean(axis=1), strict=True)
    }


def table(
    title: str, services: list[Service], sizes: list[int], noises: list[float], n: int, seed: int
) -> Iterator[dict[str, float]]:
    """Print one table, and yield its rows. ``title`` begins with the metric."""
    print(f"\n### {title}\n")
    metric = title.partition(",")[0]
    print(
        "| service | requests a run | boots | **at the limit:** MET before | MET | MISSED | if independent "
        "| **15 % below:** MET before | MET | if independent |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for service in services:
        for size in sizes:
            for noise in noises:
                drawn = replace(service, cell=replace(service.cell, requests=size, boot_noise=noise))
                cells = row(drawn, metric, n, seed)
                columns = ("old at", "met at", "missed at", "simple at", "old room", "met room", "simple room")
                figures = " | ".join(f"{cells[column]:.1f}" for column in columns)
                print(f"| {service.name} | {size} | {noise:.0%} | {figures} |", flush=True)
                yield cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few cells, few measurements: does it run?")
    parser.add_argument("--measurements", type=int, help="measurements per cell (1000; 50 with --quick)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("p50", "p95", "p99", "even"), help="only this table")
    options = parser.parse_args()
    n = options.measurements or (50 if options.quick else 1000)
    started = time.monotonic()
    print(f"n = {n} measurements of 5 runs per row, alpha 5 %, seed {options.seed}.")
    plan = {
        "p50": ("p50", SERVICES, [24, 90], [0.05]),
        "p95": ("p95", SERVICES, [90] if options.quick else [24, 90, 400], [0.01] if options.quick else [0.0, 0.05]),
        "p99": ("p99", SERVICES, [90, 400], [0.02]),
        "even": ("p95, where requests vary less than boots", EVEN, [90, 400], [0.05]),
    }
    chosen = [options.only] if options.only else ["p95"] if options.quick else list(plan)
    for title, services, sizes, noises in (plan[name] for name in chosen):
        rows = list(table(title, services, sizes, noises, n, options.seed))
        over = sum(cells["met at"] > 5.5 for cells in rows)
        print(
            f"\nAt the limit: MET in at most {max(cells['met at'] for cells in rows):.1f} % of a row, "
            f"above 5.5 % in {over} of {len(rows)}; before in {max(cells['old at'] for cells in rows):.1f} %. "
            f"MISSED in at most {max(cells['missed at'] for cells in rows):.1f} %."
        )
    print(f"\n{time.monotonic() - started:.0f} s on one core.")


if __name__ == "__main__":
    main()
