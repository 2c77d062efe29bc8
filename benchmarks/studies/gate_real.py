"""How often the gate cries wolf and how much it sees on the real service, in turns and in whole runs, from one pool.

    python benchmarks/studies/gate_real.py [--pool FOLDER] [--rounds 24] [--rate 20] [--duration 9] [--neighbour]

Each round boots the shipped service under the profile `optimized` five times at once: twice unchanged, and with
inference made to take 5, 10 and 20 % longer. All are loaded in turns, then some in whole runs one after the other, with
the same arrivals and texts. Comparisons are then drawn from the pool: pairs of a round, "unchanged" against "unchanged"
(false alarms) and against each slower one (detections). `--neighbour` computes beside it, one second of every three.

What is measured stays in FOLDER: run it again after an interruption, and it goes on. Draws share rounds, so their
number is not the evidence: that is the number of rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gate_calibration import ALTERNATIVES, share, table, welch

from benchmarks.conftest import texts_like_the_benchmarks
from pytest_inferbench import Outcome, Poisson, Run, Target, compare
from pytest_inferbench.config.project import read_project
from pytest_inferbench.deployment import Deployment
from pytest_inferbench.deployment.local import Launch, LocalService
from pytest_inferbench.harness.trial import Load, LoadOptions, draw_requests
from pytest_inferbench.harness.turn_load import load_in_turns
from pytest_inferbench.harness.warmup import warm_up
from pytest_inferbench.judgement.verdict import compare_family
from pytest_inferbench.loadgen import LoadGenerator
from pytest_inferbench.machine.lock import MachineLock
from pytest_inferbench.machine.probe import describe_environment
from pytest_inferbench.storage.documents import from_document, to_document
from pytest_inferbench.workload.workload import Workload

ROOT = Path(__file__).parents[2]
SLOWER = {"unchanged": 0.0, "unchanged again": 0.0, "5 % slower": 0.05, "10 % slower": 0.1, "20 % slower": 0.2}
#: Whole runs are for comparison only: of these conditions.
WHOLE = ("unchanged", "unchanged again", "10 % slower")
ROWS = (("unchanged again", 0.05), ("5 % slower", 0.02), ("10 % slower", 0.05), ("20 % slower", 0.05))
NEIGHBOUR = (
    "import os,time\nwhile os.getppid() == {parent}:\n t=time.time()\n while time.time()-t<1: pass\n time.sleep(2)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round: the runs in turns and the whole runs by condition, and seconds per system of boot and of load."""

    turns: Mapping[str, Run]
    whole: Mapping[str, Run]
    boot: float
    load: float


def services(logs: Path) -> dict[str, LocalService]:
    """Return a service for each condition: the profile `optimized`, its inference made slower by each share."""
    project = read_project(ROOT, None)
    plain = project.profiles["optimized"]
    launch = Launch(service=project.service, ready=project.ready, cwd=ROOT, boot_timeout=300.0)
    found = {}
    for name, slowdown in SLOWER.items():
        service = {**plain.service, **({"slowdown": {"infer": slowdown}} if slowdown else {})}
        log = logs / f"{name.replace(' ', '-')}.log"
        found[name] = LocalService(replace(plain, service=service), launch, log=log)
    return found


async def measure(load: Load, seed: int) -> Round:
    """Boot all conditions in an order that the seed turns, warm them up, and load them."""
    schedule, bodies, _ = draw_requests(load, seed)
    with tempfile.TemporaryDirectory() as logs, contextlib.ExitStack() as stack:
        every = list(services(Path(logs)).items())
        order = every[seed % len(every) :] + every[: seed % len(every)]
        began = time.monotonic()
        up: dict[str, Deployment] = {}
        for name, service in order:
            stack.callback(service.stop)
            service.boot()
            generator = LoadGenerator(load.target.at(service.url))
            for finding in await warm_up(generator, bodies, service, lambda event: None, load.warmup):
                print(f"round {seed}, {name}: {finding.message}", flush=True)
            up[name] = service
        boot = (time.monotonic() - began) / len(up)
        began = time.monotonic()
        loaded = await load_in_turns(load, up, schedule, bodies, lambda event: None)
        took = (time.monotonic() - began) / len(up)
        whole = {}
        for name in [name for name, _ in order if name in WHOLE]:
            whole[name] = await load.options.generator(load.target.at(up[name].url)).issue(schedule, bodies)
        runs = {name: each.run for name, each in loaded.items() if each.run is not None}
        return Round(turns=runs, whole=whole, boot=boot, load=took)


@contextlib.contextmanager
def neighbour(wanted: bool) -> Iterator[None]:
    """Compute in bursts meanwhile, as a process that belongs to no system."""
    if not wanted:
        yield
        return
    code = NEIGHBOUR.format(parent=os.getpid())
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def fill(folder: Path, load: Load, rounds: int) -> list[Round]:
    """Measure the rounds that the pool lacks, and return all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in range(rounds):
        path = folder / f"round-{seed:02}.json"
        if not path.exists():
            done = asyncio.run(measure(load, seed))
            path.write_text(json.dumps(to_document(done, Round)), encoding="utf-8")
            p50 = {name: round(1e3 * float(np.median(run.latencies)), 1) for name, run in done.turns.items()}
            print(f"round {seed + 1} of {rounds}: p50 in ms {p50}", flush=True)
        found.append(from_document(json.loads(path.read_text(encoding="utf-8")), Round))
    return found


def draw(pool: Sequence[Round], name: str, pairs: int, rng: np.random.Generator, *, whole: bool) -> list[list[Run]]:
    """Return one comparison: both sides, of as many rounds as pairs."""
    sides: list[list[Run]] = [[], []]
    for k in rng.choice(len(pool), size=pairs, replace=False):
        runs = pool[k].whole if whole else pool[k].turns
        pair = [runs["unchanged"], runs[name]]
        if name == "unchanged again" and rng.random() < 0.5:
            pair.reverse()
        for side, run in zip(sides, pair, strict=True):
            side.append(run)
    return sides


def noise(pool: Sequence[Round], metric: str, *, whole: bool) -> float:
    """Return the standard deviation of the log ratio of a pair of unchanged systems."""
    runs = [(r.whole if whole else r.turns) for r in pool]
    found = compare([r["unchanged"] for r in runs], [r["unchanged again"] for r in runs], metric=metric).pair_ratios
    return float(np.log(found).std(ddof=1))


def gate_table(pool: Sequence[Round], pairs: int, draws: int, rng: np.random.Generator, *, whole: bool) -> None:
    """Print what the gate says by each metric and as a family, and what one would otherwise pick."""
    rows = []
    for name, margin in ROWS:
        if whole and name not in WHOLE:
            continue
        for metric in ("p50", "p95", "p50 and p95"):
            outcomes: Counter[Outcome] = Counter()
            others: Counter[str] = Counter()
            for _ in range(draws):
                reference, candidate = draw(pool, name, pairs, rng, whole=whole)
                if metric == "p50 and p95":
                    family = compare_family(reference, candidate, metrics=("p50", "p95"), margin=margin)
                    outcomes[Outcome.worst(check.outcome for check in family)] += 1
                    continue
                outcomes[compare(reference, candidate, metric=metric, margin=margin).outcome] += 1
                before, after = ([run.latencies for run in side] for side in (reference, candidate))
                others["Welch"] += welch(before, after, metric) is Outcome.REGRESSED
                if metric == "p95":
                    pooled = np.concatenate(before), np.concatenate(after)
                    others.update(rule for rule, judge in ALTERNATIVES.items() if judge(*pooled))
            row = [name, f"{margin:.0%}", metric, share(outcomes[Outcome.REGRESSED], draws)]
            good = outcomes[Outcome.PASS] + outcomes[Outcome.IMPROVED]
            row += [f"{100 * count / draws:.0f}" for count in (good, outcomes[Outcome.INCONCLUSIVE])]
            for rule in ("Welch", *ALTERNATIVES):
                known = metric == "p95" or (metric == "p50" and rule == "Welch")
                row.append(f"{100 * others[rule] / draws:.0f}" if known else "")
            rows.append(row)
    table(["candidate", "margin", "metric", "REGRESSED", "PASS", "INCONCLUSIVE", "Welch", *ALTERNATIVES], rows)


def main() -> None:
    """Fill the pool and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, default=ROOT / ".inferbench" / "gate_real")
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--duration", type=float, default=9.0)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--neighbour", action="store_true")
    options = parser.parse_args()
    project = read_project(ROOT, None)
    load = Load(
        workload=Workload("steady", Poisson(options.rate), options.duration),
        target=Target(project.path),
        payloads=texts_like_the_benchmarks,
        options=LoadOptions(drain_timeout=15.0),
    )
    environment, lock = describe_environment(ROOT), MachineLock()
    while not lock.try_acquire():
        time.sleep(1.0)
    with neighbour(options.neighbour):
        pool = fill(options.pool / ("neighbour" if options.neighbour else "quiet"), load, options.rounds)
    lock.release()
    others = [turn.others for r in pool for run in r.turns.values() for turn in run.turns if turn.others is not None]
    seconds = 2 * float(np.mean([r.boot + r.load for r in pool]))
    print(
        f"\n{environment.cpu}, {environment.cpus} CPUs. {len(pool)} rounds, {options.rate:g} requests/s for "
        f"{options.duration:g} s in turns of {load.options.turn} s; others used {np.mean(others):.0%} of the CPU time. "
        f"A pair takes {seconds:.0f} s, boots and warm-up included.\n"
    )
    print("Noise (standard deviation of the log ratio of a pair of unchanged systems): ", end="")
    for whole in (False, True):
        found = ", ".join(f"{metric} {noise(pool, metric, whole=whole):.1%}" for metric in ("p50", "p95"))
        print(f"{'whole runs' if whole else 'turns'} {found}", end="; " if not whole else ".\n\n")
    rng = np.random.default_rng(1)
    for minutes in (5, 10):
        pairs = min(int(minutes * 60 / seconds), len(pool) - 1)
        for whole in (False, True):
            print(f"## {'Whole runs' if whole else 'Turns'}, {pairs} pairs (what {minutes} minutes hold)\n")
            gate_table(pool, pairs, options.draws, rng, whole=whole)


if __name__ == "__main__":
    main()
