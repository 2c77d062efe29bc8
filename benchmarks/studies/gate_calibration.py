"""How often the gate cries wolf and how much it sees, on simulated queues, beside what one would otherwise pick.

    python benchmarks/studies/gate_calibration.py [--quick] [--comparisons N] [--seed N] [--only TABLES]

Prints Markdown tables: every figure is a share of n simulated comparisons, in per cent, with the exact
(Clopper-Pearson) 95 % interval where it is the gate's. One process, minutes; --quick takes well under one.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from queues import Cell, simulate
from scipy import special, stats

from pytest_inferbench.judgement.comparison import Comparison, compare, compare_family
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.stopping import LOOKS, sequential_decision
from pytest_inferbench.stats.proportions import clopper_pearson
from pytest_inferbench.stats.quantiles import smooth_quantiles

Array = NDArray[np.float64]

#: What one would otherwise pick: each judges one comparison from the pooled latencies of both sides.
ALTERNATIVES: dict[str, Callable[[Array, Array], bool]] = {
    "MW": lambda r, c: bool(stats.mannwhitneyu(r, c).pvalue < 0.05),
    "KS": lambda r, c: bool(stats.ks_2samp(r, c, method="asymp").pvalue < 0.05),
    "p95>10%": lambda r, c: bool(np.quantile(c, 0.95) > 1.1 * np.quantile(r, 0.95)),
    "mean:10%": lambda r, c: bool(c.mean() > 1.1 * r.mean()),
}

CHUNK = 100
PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


def welch(reference: list[Array], candidate: list[Array], metric: str) -> Outcome:
    """Return what Welch's interval of the log run figures says at the same margin and level (PASS: IMPROVED too)."""
    if metric == "mean":
        figures = np.array([[r.mean(), c.mean()] for r, c in zip(reference, candidate, strict=True)])
    else:
        p = PERCENTILES[metric]
        figures = np.array([smooth_quantiles(r, c, p) for r, c in zip(reference, candidate, strict=True)])
    logs, n = np.log(figures), len(figures)
    spread = logs.var(axis=0, ddof=1) / n
    df = spread.sum() ** 2 * (n - 1) / (spread**2).sum()
    change, half = float(np.diff(logs.mean(axis=0))[0]), special.stdtrit(df, 0.95) * np.sqrt(spread.sum())
    low, high = change - half, change + half
    if low > np.log(1.05):
        return Outcome.REGRESSED
    return Outcome.PASS if high < np.log(1.05) else Outcome.INCONCLUSIVE


def comparisons(cell: Cell, n: int, rng: np.random.Generator) -> Iterator[tuple[list[Array], list[Array]]]:
    """Yield ``n`` simulated comparisons of a cell, in bounded memory."""
    for start in range(0, n, CHUNK):
        reference, candidate = simulate(cell, min(CHUNK, n - start), rng)
        yield from ((list(r), list(c)) for r, c in zip(reference, candidate, strict=True))


def gate(cell: Cell, n: int, rng: np.random.Generator, metric: str) -> list[Comparison]:
    """Return the gate's answers to ``n`` comparisons of a cell."""
    return [compare(r, c, metric=metric) for r, c in comparisons(cell, n, rng)]


def share(count: int, n: int) -> str:
    """Return a count as a percentage with its exact interval."""
    low, high = clopper_pearson(count, n, 0.025)
    return f"{100 * count / n:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def table(header: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def name(cell: Cell) -> list[str]:
    """Return the columns that say which cell a row is."""
    arrivals = "Poisson" if cell.cv == 1 else f"gamma CV {cell.cv:g}"
    boots = f"{100 * cell.boot_noise:g} %" + (" t3" if cell.heavy else "")
    arrivals += ", independent" if cell.independent else ""
    arrivals += ", payloads alike" if cell.alike else ""
    arrivals += f", {100 * cell.bursts:g} % in bursts" if cell.bursts else ""
    arrivals += f", {100 * cell.common:g} % per pair" if cell.common else ""
    return [arrivals, f"{cell.utilisation:g}", boots, str(cell.pairs)]


CELL = ["arrivals", "util", "boots", "pairs"]


def main_table(cells: list[Cell], n: int, rng: np.random.Generator, *, beside: bool = True) -> None:
    """Print the gate by p95, unchanged and 10 % slower, and Welch; the other alternatives ``beside`` where asked."""
    alternatives = ALTERNATIVES if beside else {}
    rows = []
    for cell in cells:
        row = name(cell)
        for factor in (1.0, 1.1):
            outcomes: Counter[Outcome] = Counter()
            unpaired: Counter[Outcome] = Counter()
            others: Counter[str] = Counter()
            for r, c in comparisons(replace(cell, slower=factor), n, rng):
                outcomes[compare(r, c, metric="p95").outcome] += 1
                unpaired[welch(r, c, "p95")] += 1
                pooled = np.concatenate(r), np.concatenate(c)
                others.update(rule for rule, judge in alternatives.items() if judge(*pooled))
            row.append(share(outcomes[Outcome.REGRESSED], n))
            if factor == 1:
                row.append(f"{100 * outcomes[Outcome.PASS] / n:.0f}")
            row.append(f"{100 * unpaired[Outcome.REGRESSED] / n:.1f}")
            if factor == 1:
                row.append(f"{100 * unpaired[Outcome.PASS] / n:.0f}")
            row += [f"{100 * others[rule] / n:.0f}" for rule in alternatives]
        rows.append(row)
    header = [*CELL, "**unchanged:** gate REGRESSED", "gate PASS", "Welch REGRESSED", "Welch PASS or better"]
    table([*header, *alternatives, "**10 % slower:** gate REGRESSED", "Welch", *alternatives], rows)


def welch_table(cells: list[Cell], metrics: tuple[str, ...], n: int, rng: np.random.Generator) -> None:
    """Print the gate beside Welch by each of ``metrics``: false alarms, PASS and detections of both."""
    rows = []
    for cell in cells:
        tallies: dict[tuple[str, float, str], Counter[Outcome]] = {}
        for factor in (1.0, 1.1):
            for r, c in comparisons(replace(cell, slower=factor), n, rng):
                for metric in metrics:
                    tallies.setdefault((metric, factor, "gate"), Counter())[compare(r, c, metric=metric).outcome] += 1
                    tallies.setdefault((metric, factor, "Welch"), Counter())[welch(r, c, metric)] += 1
        for metric in metrics:
            row = [*name(cell), str(cell.requests), metric]
            row.append(share(tallies[metric, 1.0, "gate"][Outcome.REGRESSED], n))
            row.append(f"{100 * tallies[metric, 1.0, 'Welch'][Outcome.REGRESSED] / n:.1f}")
            row += [f"{100 * tallies[metric, 1.0, rule][Outcome.PASS] / n:.0f}" for rule in ("gate", "Welch")]
            row.append(share(tallies[metric, 1.1, "gate"][Outcome.REGRESSED], n))
            row.append(f"{100 * tallies[metric, 1.1, 'Welch'][Outcome.REGRESSED] / n:.1f}")
            rows.append(row)
    header = [
        *CELL,
        "requests",
        "metric",
        "**unchanged:** gate REGRESSED",
        "Welch",
        "gate PASS",
        "Welch PASS or better",
    ]
    table([*header, "**10 % slower:** gate REGRESSED", "Welch"], rows)


def default_table(cells: list[Cell], n: int, rng: np.random.Generator) -> None:
    """Print the shipped default: p50 and p95 as one family, and each within it."""
    rows = []
    for cell in cells:
        row = name(cell)
        for factor in (1.0, 1.1):
            found: Counter[str] = Counter()
            for r, c in comparisons(replace(cell, slower=factor), n, rng):
                family = compare_family(r, c, metrics=("p50", "p95"))
                found.update(check.metric for check in family if check.outcome is Outcome.REGRESSED)
                found["any"] += any(check.outcome is Outcome.REGRESSED for check in family)
                found["passed"] += all(check.outcome in (Outcome.PASS, Outcome.IMPROVED) for check in family)
            row += [share(found["any"], n)]
            row += [f"{100 * found[which] / n:.1f}" for which in ("p50", "p95")]
            if factor == 1:
                row.append(f"{100 * found['passed'] / n:.0f}")
        rows.append(row)
    header = [*CELL, "**unchanged:** either REGRESSED", "p50", "p95", "both PASS"]
    table([*header, "**10 % slower:** either REGRESSED", "p50", "p95"], rows)


def tail_table(cells: list[Cell], n: int, rng: np.random.Generator) -> None:
    """Print how often a regression of one request in fifty is found, and called what it is."""
    rows = []
    for cell in cells:
        row = name(cell)
        for metric in ("p99", "p95"):
            found = [c for c in gate(replace(cell, tail=True), n, rng, metric) if c.outcome is Outcome.REGRESSED]
            named = sum(any("tail regression" in reason for reason in c.reasons) for c in found)
            row += [share(len(found), n), f"{100 * named / max(len(found), 1):.0f}"]
        rows.append(row)
    table([*CELL, "p99 REGRESSED", "named, of these", "p95 REGRESSED", "named, of these"], rows)


def sequential_table(cells: list[Cell], n: int, rng: np.random.Generator) -> None:
    """Print the error rates under peeking, and how many pairs it took."""
    rows = []
    for cell in cells:
        row = [*name(cell)[:3], " ".join(map(str, LOOKS))]
        for factor in (1.0, 1.1):
            wanted = Outcome.PASS if factor == 1 else Outcome.REGRESSED
            ends = [walk(r, c) for r, c in comparisons(replace(cell, slower=factor, pairs=LOOKS[-1]), n, rng)]
            if factor == 1:
                row.append(share(sum(outcome is Outcome.REGRESSED for outcome, _ in ends), n))
            row.append(f"{100 * sum(outcome is wanted for outcome, _ in ends) / n:.0f}")
            row.append(f"{np.mean([pairs for _, pairs in ends]):.1f}")
        rows.append(row)
    header = [*CELL[:3], "looks", "**unchanged:** REGRESSED", "PASS", "mean pairs"]
    table([*header, "**10 % slower:** REGRESSED", "mean pairs"], rows)


def walk(reference: list[Array], candidate: list[Array]) -> tuple[Outcome, int]:
    """Return the outcome of the sequential rule for p95 and the pairs it used."""
    pairs = LOOKS[0]
    while True:
        decision = sequential_decision(reference[:pairs], candidate[:pairs], metrics=("p95",))
        if decision.decided or decision.next_look is None:
            return decision.comparisons[0].outcome, pairs
        pairs = decision.next_look


def timing(rng: np.random.Generator) -> None:
    """Print how long the largest usual comparison takes."""
    reference, candidate = simulate(Cell(pairs=8, requests=2000), 1, rng)
    begun = time.perf_counter()
    compare(list(reference[0]), list(candidate[0]))
    print(f"One comparison of 8 x 2,000 with 8 x 2,000 latencies: {1e3 * (time.perf_counter() - begun):.0f} ms.\n")


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few cells, few comparisons: does it run?")
    parser.add_argument("--comparisons", type=int, help="comparisons per cell (400; 40 with --quick)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("queues", "default", "unshared"), help="only these tables")
    options = parser.parse_args()
    n = options.comparisons or (40 if options.quick else 400)
    rng = np.random.default_rng(options.seed)
    loads = (0.5, 0.7) if options.quick else (0.3, 0.5, 0.7, 0.9)
    noises = (0.01, 0.03) if options.quick else (0.0, 0.01, 0.03, 0.05)
    grid = [
        Cell(cv=cv, utilisation=load, boot_noise=noise, pairs=pairs, drift=0.02)
        for pairs, cv, load, noise in itertools.product((5, 8), (1.0, 3.0), loads, noises)
    ]
    print(f"n = {n} comparisons per cell and column, margin 5 %, alpha 5 %, seed {options.seed}; 400 requests per run")
    print("unless a table says otherwise. Service times by payload size with 5 % jitter per request and 2 % drift over")
    print("the session.\n")
    if options.only in (None, "default"):
        default_tables(grid, n, rng)
    if options.only in (None, "unshared"):
        unshared_tables(grid, n, rng, quick=options.quick)
    if options.only in (None, "queues"):
        queue_tables(grid, n, rng)


def default_tables(grid: list[Cell], n: int, rng: np.random.Generator) -> None:
    """Print what the shipped default does: 5 runs of 90 requests."""
    cells = [replace(c, requests=90) for c in grid if c.pairs == 5]
    print("## The shipped default: 5 runs of 90 requests, p50 and p95 as one family\n")
    default_table(cells, n, rng)
    print("## The shipped default, 10 % jitter per request\n")
    default_table([replace(c, jitter=0.1) for c in cells if c.boot_noise == 0.01], n, rng)
    print("## The shipped default beside Welch\n")
    welch_table([c for c in cells if c.boot_noise == 0.01], ("p50", "p95"), n, rng)


def unshared_tables(grid: list[Cell], n: int, rng: np.random.Generator, *, quick: bool) -> None:
    """Print the gate beside Welch where the runs of a pair share nothing, or little."""
    noises = (0.01,) if quick else (0.005, 0.01, 0.02, 0.03, 0.05)
    alone = Cell(utilisation=0.01, independent=True, alike=True)
    plain = [replace(alone, boot_noise=noise, requests=size) for size, noise in itertools.product((90, 400), noises)]
    print("## Pairs that share nothing: hardly any queue, noise between runs\n")
    eight = [replace(c, pairs=8) for c in plain if c.requests == 400 and c.boot_noise in (0.01, 0.03)]
    welch_table(plain + eight, ("p50", "p95"), n, rng)
    print("## Pairs that share nothing: bursts of a busy machine\n")
    welch_table([replace(c, bursts=0.1) for c in plain if c.boot_noise in (0.01, 0.03)], ("p50", "p95"), n, rng)
    print("## Pairs that share nothing: queues of their own\n")
    queues = [c for c in grid if c.boot_noise == 0.01 and c.pairs == 5]
    welch_table([replace(c, independent=True) for c in queues], ("p50", "p95"), n, rng)
    print("## Pairs that share little: one schedule, payloads of one size, next to no queue\n")
    welch_table([Cell(utilisation=0.1, boot_noise=noise, alike=True) for noise in noises], ("p50", "p95"), n, rng)
    print("## Pairs that share the machine's state, but no requests\n")
    cells = [replace(alone, common=common, pairs=pairs) for pairs in (5, 8) for common in (0.02, 0.1)]
    welch_table(cells, ("p50", "p95"), n, rng)


def queue_tables(grid: list[Cell], n: int, rng: np.random.Generator) -> None:
    """Print the gate on queues: by p95, by other metrics, of tails, and looking more than once."""
    print("## p95: the same schedules and payloads for reference and candidate\n")
    main_table(grid, n, rng)
    print("## p95: heavy-tailed boots\n")
    main_table([replace(c, heavy=True) for c in grid if c.boot_noise in (0.01, 0.03)], n, rng, beside=False)
    print("## p95: independent schedules and payloads\n")
    main_table([replace(c, independent=True) for c in grid if c.boot_noise == 0.01], n, rng)
    print("## p95: 10 % jitter per request, 5 % drift\n")
    main_table([replace(c, jitter=0.1, drift=0.05) for c in grid if c.boot_noise in (0.01, 0.03)], n, rng, beside=False)
    print("## The other metrics\n")
    welch_table(
        [c for c in grid if c.boot_noise in (0.01, 0.03) and c.utilisation < 0.9], ("p50", "p99", "mean"), n, rng
    )
    print("## A regression of the tail: one request in fifty takes five times as long\n")
    tail_table([c for c in grid if c.boot_noise == 0.01 and c.pairs == 8], n, rng)
    print("## Sequential: p95, looking after 3, 5, 8 and 12 pairs\n")
    base = [c for c in grid if c.pairs == 5]
    sequential_table(base + [replace(c, independent=True) for c in base if c.boot_noise == 0.01], n, rng)
    timing(rng)


if __name__ == "__main__":
    main()
