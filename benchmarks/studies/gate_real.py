"""How often the gate cries wolf and how much it sees on the real service, from a pool of interleaved boots.

    python benchmarks/studies/gate_real.py [--pool FOLDER] [--boots 24] [--rate 20] [--duration 8] [--draws 1000]

Boots the shipped service under the profile `optimized`, unchanged and with inference made to take 5, 10 and 20 %
longer, in turns: every seed of arrivals and texts is measured twice under each condition. Comparisons are then drawn
from the pool: pairs of boots of the same seed, "unchanged" against "unchanged" (false alarms) and against each slower
one (detections). What is measured stays in FOLDER: run it again after an interruption, and it goes on.

Draws share boots, so their number is not the evidence: that is the number of boots. The intervals are exact
(Clopper-Pearson) for the draws, given the pool.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from gate_calibration import ALTERNATIVES, share, table

from benchmarks.conftest import texts_like_the_benchmarks
from pytest_inferbench import Outcome, Poisson, Run, Target, compare
from pytest_inferbench.config.project import read_project
from pytest_inferbench.deployment.local import Launch, LocalService
from pytest_inferbench.events import Booting
from pytest_inferbench.harness.trial import Load, LoadOptions, System, run_trial
from pytest_inferbench.judgement.selfcheck import self_check
from pytest_inferbench.machine.lock import MachineLock
from pytest_inferbench.machine.probe import describe_environment
from pytest_inferbench.storage.baselines import Baseline, BaselineStore
from pytest_inferbench.workload.workload import Workload

ROOT = Path(__file__).parents[2]
SLOWER = {"unchanged": 0.0, "5 % slower": 0.05, "10 % slower": 0.1, "20 % slower": 0.2}
PAIRS = (5, 8)


def sides(logs: Path) -> dict[str, System]:
    """Return the conditions: the profile `optimized` with its inference made slower by each share."""
    project = read_project(ROOT, None)
    plain = project.profiles["optimized"]
    launch = Launch(service=project.service, ready=project.ready, cwd=ROOT, boot_timeout=300.0)
    found = {}
    for name, slowdown in SLOWER.items():
        service = {**plain.service, **({"slowdown": {"infer": slowdown}} if slowdown else {})}
        profile = replace(plain, service=service)
        deploy = partial(LocalService, profile, launch, log=logs / f"{slowdown:g}.log")
        found[name] = System(name=name, profile=profile, deploy=deploy)
    return found


async def fill(store: BaselineStore, load: Load, seeds: int, machine: str) -> None:
    """Measure what the pool still lacks, round by round: each condition once per round, in an order that turns."""
    with tempfile.TemporaryDirectory() as logs:
        conditions = list(sides(Path(logs)).items())
        total = 2 * seeds * len(conditions)
        for number in range(total):
            round_, place = divmod(number, len(conditions))
            turn = conditions[round_ % len(conditions) :] + conditions[: round_ % len(conditions)]
            name, side = turn[place]
            seed, key = round_ % seeds, {"profile": name, "machine": machine, "test": f"round {round_}"}
            stored = store.load(**key).get(load.workload.name)
            if stored is not None and stored.workload == load.workload.identity:
                continue
            step = Booting(workload=load.workload.name, profile=name, number=number + 1, total=total)
            trial = await run_trial(load, side, seed, step, lambda event: None)
            for finding in trial.findings:
                print(f"boot {number + 1} of {total} ({name}): {finding.rule}: {finding.message}", flush=True)
            recorded = time.strftime("%Y-%m-%dT%H:%M:%S")
            store.update(Baseline(load.workload.identity, {}, recorded, (trial.run,)), **key)
            print(
                f"boot {number + 1} of {total}: {name}, p50 {1e3 * np.median(trial.run.latencies):.1f} ms", flush=True
            )


def read(store: BaselineStore, workload: Workload, seeds: int, machine: str) -> dict[str, list[tuple[Run, ...]]]:
    """Return the pool: for each condition and seed, the runs of its two boots."""
    pool: dict[str, list[tuple[Run, ...]]] = {}
    for name in SLOWER:
        for seed in range(seeds):
            rounds = (seed, seeds + seed)
            keys = ({"profile": name, "machine": machine, "test": f"round {k}"} for k in rounds)
            boots = tuple(store.load(**key)[workload.name].runs[0] for key in keys)
            pool.setdefault(name, []).append(boots)
    return pool


def draw(
    pool: Mapping[str, Sequence[tuple[Run, ...]]], condition: str, pairs: int, rng: np.random.Generator
) -> tuple[list[Run], list[Run]]:
    """Return one comparison: as many seeds as pairs, one boot of each side for each."""
    reference, candidate = [], []
    for seed in rng.choice(len(pool["unchanged"]), size=pairs, replace=False):
        one = int(rng.integers(2))
        other = 1 - one if condition == "unchanged" else int(rng.integers(2))
        reference.append(pool["unchanged"][seed][one])
        candidate.append(pool[condition][seed][other])
    return reference, candidate


def main() -> None:
    """Fill the pool and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, default=ROOT / ".inferbench" / "gate_real")
    parser.add_argument("--boots", type=int, default=24, help="boots per condition, an even number")
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--duration", type=float, default=8.0)
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    seeds = options.boots // 2
    if seeds < max(PAIRS):
        parser.error(f"--boots must be at least {2 * max(PAIRS)}: comparisons take up to {max(PAIRS)} seeds")
    project = read_project(ROOT, None)
    load = Load(
        workload=Workload("steady", Poisson(options.rate), options.duration),
        target=Target(project.path),
        payloads=texts_like_the_benchmarks,
        options=LoadOptions(drain_timeout=15.0),
    )
    store, environment = BaselineStore(options.pool), describe_environment(ROOT)
    lock = MachineLock()
    while not lock.try_acquire():
        time.sleep(1.0)
    started = time.monotonic()
    asyncio.run(fill(store, load, seeds, environment.machine))
    minutes = (time.monotonic() - started) / 60
    lock.release()
    pool = read(store, load.workload, seeds, environment.machine)
    requests = [len(run) for boots in pool["unchanged"] for run in boots]
    print(
        f"\n{environment.cpu}, {environment.cpus} CPUs. {options.boots} boots per condition, {options.rate:g} "
        f"requests/s for {options.duration:g} s ({min(requests)} to {max(requests)} requests per run), "
        f"{minutes:.0f} minutes in this run of the script; {options.draws} comparisons drawn per row.\n"
    )
    rng = np.random.default_rng(1)
    one, other = ([boots[k] for boots in pool["unchanged"]] for k in (0, 1))
    checked = self_check(one, other, repeats=5, rng=rng)
    print(f"Self-check of these boots: {checked.describe() if checked else 'not enough'}.\n")
    rows = []
    for pairs in PAIRS:
        for metric in ("p50", "p95"):
            for condition in SLOWER:
                outcomes: Counter[Outcome] = Counter()
                others: Counter[str] = Counter()
                for _ in range(options.draws):
                    r, c = draw(pool, condition, pairs, rng)
                    outcomes[compare(r, c, metric=metric).outcome] += 1
                    if metric == "p95":
                        pooled = tuple(np.concatenate([run.latencies for run in side]) for side in (r, c))
                        others.update(rule for rule, judge in ALTERNATIVES.items() if judge(*pooled))
                n = options.draws
                row = [str(pairs), metric, condition, share(outcomes[Outcome.REGRESSED], n)]
                row += [f"{100 * outcomes[outcome] / n:.0f}" for outcome in (Outcome.PASS, Outcome.INCONCLUSIVE)]
                row += [f"{100 * others[rule] / n:.0f}" if metric == "p95" else "" for rule in ALTERNATIVES]
                rows.append(row)
    table(["pairs", "metric", "candidate", "gate REGRESSED", "PASS", "INCONCLUSIVE", *ALTERNATIVES], rows)


if __name__ == "__main__":
    main()
