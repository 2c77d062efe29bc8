"""How often warm-up voids a measurement of a service that does not change, and how often it is over too early.

    python benchmarks/studies/warmup_calibration.py [--measurements N] [--seed N]

Drives the real `warm_up` with a simulated service and a simulated clock. Prints Markdown tables: shares of n simulated
measurements of five boots, or of n boots, in per cent, with exact (Clopper-Pearson) 95 % intervals, beside the rule
before (median of 8 requests moves by less than 20 %, three blocks a round, five rounds at most). One process; about
two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.config.warmup_plan import WarmUpPlan
from pytest_inferbench.harness.warmup import warm_up
from pytest_inferbench.loadgen import Target
from pytest_inferbench.runs.run import Failure, Run
from pytest_inferbench.stats.proportions import clopper_pearson

Array = NDArray[np.float64]
Law = Callable[[np.random.Generator, int], Array]
#: By how much the k-th request (from 0) that a worker gets takes longer than one of a warm service.
Slowness = Callable[[Array], Array]

BOOTS = 5
MEAN_SECONDS = 0.02

#: Each of mean 1.
LAWS: dict[str, Law] = {
    "constant, 1 % jitter": lambda rng, n: rng.normal(1, 0.01, n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "lognormal, sigma 1": lambda rng, n: rng.lognormal(-0.5, 1, n),
    "bimodal 1:10, half each": lambda rng, n: np.where(rng.random(n) < 0.5, 10.0, 1.0) / 5.5,
    "bimodal 1:10, one in five": lambda rng, n: np.where(rng.random(n) < 0.2, 10.0, 1.0) / 2.8,
}
SLOWNESS: dict[str, Slowness] = {
    "first 50 twice as slow": lambda k: np.where(k < 50, 2.0, 1.0),
    "first 100 twice as slow": lambda k: np.where(k < 100, 2.0, 1.0),
    "three times, gone like exp(-k/50)": lambda k: 1 + 2 * np.exp(-k / 50),
    "ten times, gone like exp(-k/150)": lambda k: 1 + 9 * np.exp(-k / 150),
}


def warm(k: Array) -> Array:
    """Every request of a warm service takes as long as any other."""
    return np.ones_like(k)


@dataclass
class Service:
    """A service of ``workers``, and the load generator in front of it: what ``warm_up`` needs of both.

    Each request goes to a worker drawn at random and waits there for its turn. ``slowness`` is by what a worker has
    served. The clock moves by what a round of requests takes.
    """

    law: Law
    slowness: Slowness
    rng: np.random.Generator
    worker_count: int = 1
    mean: float = MEAN_SECONDS
    now_ns: int = 10**9
    url: str = "http://127.0.0.1:1"
    alive: bool = True
    boot_seconds: float = 0.0
    served: list[int] = field(default_factory=list)
    target: Target = field(default_factory=lambda: Target("http://127.0.0.1:1/"))

    def __post_init__(self) -> None:
        self.served = [0] * self.worker_count

    def without_keep_alive(self) -> Service:
        """Return itself: connections take no time here."""
        return self

    def log_tail(self) -> str:
        """Return nothing: no service of a simulation fails."""
        return ""

    async def issue_closed(self, payloads: Sequence[object], *, concurrency: int, limit: float | None = None) -> Run:
        """Do what the load generator does, in simulated time."""
        n = len(payloads)
        start = self.now_ns / 1e9
        work = self.law(self.rng, n) * self.mean
        if self.worker_count == concurrency == 1:
            completed = start + np.cumsum(work * self.slowness(self.served[0] + np.arange(n, dtype=float)))
            issued = np.concatenate(([start], completed[:-1]))
            late = issued - start > (math.inf if limit is None else limit)
            issued[late] = completed[late] = -1.0
            self.served[0] += int(np.count_nonzero(~late))
            return self._run(issued, completed)
        issued, completed = np.full(n, -1.0), np.full(n, -1.0)
        users = [start] * min(concurrency, n)
        free = [start] * self.worker_count
        chosen = self.rng.integers(self.worker_count, size=n).tolist()
        for i, worker in enumerate(chosen):
            user = min(range(len(users)), key=users.__getitem__)
            at = users[user]
            if limit is not None and at - start > limit:
                break
            slower = float(self.slowness(np.array(float(self.served[worker]))))
            self.served[worker] += 1
            free[worker] = users[user] = max(at, free[worker]) + work[i] * slower
            issued[i], completed[i] = at, users[user]
        return self._run(issued, completed)

    def _run(self, issued: Array, completed: Array) -> Run:
        self.now_ns = round(completed.max() * 1e9)
        at_ns, done_ns = ((np.where(x < 0, -1, np.rint(x * 1e9))).astype(np.int64) for x in (issued, completed))
        sent = at_ns >= 0
        failure = np.where(sent, Failure.NONE, Failure.UNISSUED)
        return Run(at_ns, at_ns, done_ns, np.where(sent, 200, 0), failure, closed_loop=True)


@dataclass(frozen=True)
class Ended:
    """One warm-up: whether it voids the run, requests of the least served worker, and simulated seconds."""

    invalid: bool
    served: int
    seconds: float


def now(service: Service, plan: WarmUpPlan) -> Ended:
    """Warm ``service`` up as the plugin does."""
    began = service.now_ns
    findings = asyncio.run(
        warm_up(service, [None] * 96, service, lambda event: None, plan, clock=lambda: service.now_ns)  # type: ignore[arg-type]
    )
    invalid = any(finding.kind == "invalid" for finding in findings)
    return Ended(invalid, min(service.served), (service.now_ns - began) / 1e9)


def before(service: Service, plan: WarmUpPlan) -> Ended:
    """Warm ``service`` up as the plugin did: one connection, hence one worker."""
    began, invalid = service.now_ns, True
    seen, sent = service.worker_count, 0
    for _ in range(5):
        k = np.arange(sent, sent + 24, dtype=float)
        seconds = service.law(service.rng, 24) * service.mean * service.slowness(k)
        sent += 24
        service.now_ns += round(seconds.sum() * 1e9)
        medians = np.median(seconds.reshape(3, 8), axis=1)
        if abs(math.log(medians[-1] / medians[-2])) < 0.2:
            invalid = False
            break
    return Ended(invalid, sent if seen == 1 else 0, (service.now_ns - began) / 1e9)


RULES = {"before": before, "now": now}


def boots(
    rule: Callable[[Service, WarmUpPlan], Ended], law: str, slowness: Slowness, n: int, seed: int, **service: float
) -> list[Ended]:
    """Return what came of ``n`` boots."""
    rng = np.random.default_rng(seed)
    plan = WarmUpPlan()
    return [rule(Service(LAWS[law], slowness, rng, **service), plan) for _ in range(n)]  # type: ignore[arg-type]


def share(flags: Sequence[bool]) -> str:
    """Return how many of ``flags`` are set, as a percentage with its exact interval."""
    low, high = clopper_pearson(sum(flags), len(flags), 0.025)
    return f"{100 * sum(flags) / len(flags):.1f} ({100 * low:.1f}–{100 * high:.1f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(row) + " |", flush=True)
    print()


def caught(ended: Sequence[Ended], slowness: Slowness) -> str:
    """Return how many warm-ups did not let a cold service through, and how many of them were INVALID."""
    void = sum(one.invalid for one in ended)
    good = [one.invalid or float(slowness(np.array(float(one.served)))) < 1.1 for one in ended]
    return f"{share(good)}, {100 * void / len(ended):.0f}"


def false_alarms(n: int, seed: int) -> None:
    """Print how many measurements of five boots of a service that does not change are INVALID."""
    print(
        f"## A service that does not change: INVALID measurements\n\nn = {n} measurements of {BOOTS} boots per row.\n"
    )
    rows = []
    for workers in (1, 2, 4):
        for law in LAWS if workers == 1 else ["exponential", "bimodal 1:10, half each"]:
            row = [law, str(workers)]
            for name, rule in RULES.items():
                ended = boots(rule, law, warm, n * BOOTS, seed, worker_count=workers)
                void = [any(one.invalid for one in ended[k : k + BOOTS]) for k in range(0, n * BOOTS, BOOTS)]
                row.append(share(void))
                if name == "now":
                    row.append(f"{np.median([one.served for one in ended]):.0f}")
            rows.append(row)
    table(["service times", "workers", "before", "now", "requests of the least served worker, median"], rows)


def catches(n: int, seed: int) -> None:
    """Print how often a service that is slow at first is warmed past it, or called INVALID."""
    print(
        "## A service that is slow at first: not over too early\n\nShare of boots after which no worker is still "
        f"slower by more than 10 %, or which are INVALID; one worker, n = {n} boots.\n"
    )
    rows = []
    for what, slowness in SLOWNESS.items():
        for law in LAWS:
            row = [what, law]
            for rule in RULES.values():
                ended = boots(rule, law, slowness, n, seed)
                row.append(caught(ended, slowness))
            rows.append(row)
    for workers in (2, 4):
        what = "first 50 twice as slow"
        row = [f"{what}, {workers} workers", "exponential"]
        for rule in RULES.values():
            ended = boots(rule, "exponential", SLOWNESS[what], n, seed, worker_count=workers)
            row.append(caught(ended, SLOWNESS[what]))
        rows.append(row)
    table(["slow at first", "service times", "before: all, INVALID alone", "now: all, INVALID alone"], rows)


def costs(seed: int) -> None:
    """Print what warming up costs, by how long a request takes."""
    print("## What it costs\n\nOne worker, one request at a time, 1 % jitter, the default plan. Medians of 20 boots.\n")
    rows = []
    for mean in (0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0):
        row = [f"{mean:g} s"]
        for rule in RULES.values():
            ended = boots(rule, "constant, 1 % jitter", warm, 20, seed, mean=mean)
            row.append(
                f"{np.median([one.seconds for one in ended]):.1f} s, {np.median([one.served for one in ended]):.0f}"
            )
        rows.append(row)
    table(["a request takes", "before: seconds, requests", "now: seconds, requests"], rows)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measurements", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    print(
        f"# Warm-up\n\nA request takes {MEAN_SECONDS * 1e3:g} ms on average; the default plan; seed {options.seed}.\n"
    )
    false_alarms(options.measurements, options.seed)
    catches(options.measurements // 2, options.seed)
    costs(options.seed)
    print(f"({time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    main()
