"""How honest the cost curve is, on simulated services whose curve is known: coverage, false alarms, detection.

    python benchmarks/studies/curve_calibration.py [--comparisons 1000] [--seed 0]

Each run has its own boot noise and, per request, 5 % of noise; sizes are log-uniform from 1 to 512 tokens, 120 requests
a run. Prints a Markdown table: shares of n simulated fits or comparisons, in per cent, with their exact 95 % intervals.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from gate_calibration import share, table
from numpy.typing import NDArray

from pytest_inferbench.judgement.cost_curve import CostChange, compare_costs, cost_curve
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.runs.run import Run

Curve = Callable[[NDArray[np.int64]], NDArray[np.float64]]

REQUESTS, LONGEST, NOISE = 120, 512, 0.05
BASE, SLOPE = 0.01, 0.0002
STEP_AT = 64
MARGIN = 0.1


def line(slope: float = SLOPE) -> Curve:
    """Return a curve of 10 ms and ``slope`` seconds per token."""
    return lambda size: BASE + slope * size


def step(height: float) -> Curve:
    """Return the line with ``height`` seconds more from 64 tokens on."""
    return lambda size: BASE + SLOPE * size + height * (size >= STEP_AT)


def side(curve: Curve, *, count: int, boots: float, schedule: int, rng: np.random.Generator) -> list[Run]:
    """Return ``count`` runs of a service with that curve; both sides of a comparison share ``schedule``."""
    made = []
    for number in range(count):
        sizes = np.random.default_rng((schedule, number)).uniform(0, np.log(LONGEST + 1), REQUESTS)
        sizes = np.exp(sizes).astype(np.int64)
        seconds = curve(sizes) * rng.lognormal(0, NOISE, REQUESTS) * rng.lognormal(0, boots)
        due = np.arange(REQUESTS, dtype=np.int64) * 10**9
        made.append(
            Run(
                scheduled_ns=due,
                issued_ns=due,
                completed_ns=due + (seconds * 1e9).astype(np.int64),
                status=np.full(REQUESTS, 200, np.int16),
                seed=number,
                digest=f"schedule {number}",
                payload_digest=f"payloads {number}",
                sizes=sizes,
            )
        )
    return made


def compared(
    before: Curve, after: Curve, count: int, boots: float, number: int, rng: np.random.Generator
) -> CostChange:
    """Return the judgement of one simulated comparison."""
    reference, candidate = (
        side(curve, count=count, boots=boots, schedule=number, rng=rng) for curve in (before, after)
    )
    return compare_costs(reference, candidate, margin=MARGIN)


def alarmed(change: CostChange) -> bool:
    """Return whether any check of a comparison raised an alarm."""
    return any(check.outcome is Outcome.REGRESSED for check in change.checks)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    n, rng = options.comparisons, np.random.default_rng(options.seed)
    rows = []
    for count, boots in ((3, 0.005), (3, 0.02), (5, 0.005), (5, 0.02), (8, 0.02)):
        fits = [cost_curve(side(line(), count=count, boots=boots, schedule=k, rng=rng)) for k in range(n)]
        covered = sum(fit.slope_interval[0] <= SLOPE <= fit.slope_interval[1] for fit in fits)
        # At the limit: just what the margin tolerates is the hardest case of nothing to report.
        edge = compared_often(line(), lambda size: (1 + MARGIN) * line()(size), count, boots, n, rng)
        same = compared_often(line(), line(), count, boots, n, rng)
        steeper = compared_often(line(), line(1.4 * SLOPE), count, boots, n, rng)
        stepped = compared_often(line(), step(0.01), count, boots, n, rng)
        rows.append(
            [
                str(count),
                f"{100 * boots:g} %",
                share(covered, n),
                share(sum(map(alarmed, same)), n),
                share(sum(map(alarmed, edge)), n),
                share(sum(map(alarmed, steeper)), n),
                share(sum(change.explanation.startswith("the slope") for change in steeper), n),
                share(sum(map(alarmed, stepped)), n),
                share(sum(change.explanation.startswith("a step") for change in stepped), n),
            ]
        )
    print(f"\n{n} fits or comparisons each, runs of {REQUESTS} requests, margin {MARGIN:.0%}, alpha 5 %\n")
    table(
        [
            "runs each",
            "boots",
            "90 % interval of the slope holds it",
            "alarm: same service",
            "alarm: all sizes slower by the margin",
            "slope + 40 %: alarm",
            "shape named",
            f"+ 10 ms from {STEP_AT} tokens: alarm",
            "shape named",
        ],
        rows,
    )


def compared_often(
    before: Curve, after: Curve, count: int, boots: float, n: int, rng: np.random.Generator
) -> list[CostChange]:
    """Return the judgements of ``n`` simulated comparisons."""
    return [compared(before, after, count, boots, number, rng) for number in range(n)]


if __name__ == "__main__":
    main()
