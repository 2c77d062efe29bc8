"""How often the gate cries wolf and how much it sees on the real service, in turns and in whole runs, from one pool.

    python benchmarks/studies/gate_real.py [--pool FOLDER] [--rounds 12] [--rate 10] [--duration 15] [--neighbour]

Each round boots the shipped service under the profile `optimized` several times at once: twice unchanged, and with
inference made to take longer by the shares of `--slower`. The first is loaded in turns with each of the others, and
then those of `--whole` in whole runs one after the other, with the same arrivals and texts. Comparisons are drawn from
the pool: pairs of a round, "unchanged" against "unchanged" (false alarms) and against each slower one (detections).
`--neighbour` computes beside it, one second of every three.

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
FIRST, AGAIN = "unchanged", "unchanged again"
#: A slowdown of 5 % is looked for with a margin of 2 %.
MARGINS = {"5 % slower": 0.02}
NEIGHBOUR = (
    "import os,time\nwhile os.getppid() == {parent}:\n t=time.time()\n while time.time()-t<1: pass\n time.sleep(2)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round: by condition the pair of runs in turns (of "unchanged", and its own) and the whole run; and the
    seconds per system of a boot and of a load in turns."""

    turns: Mapping[str, tuple[Run, Run]]
    whole: Mapping[str, Run]
    boot: float
    load: float


def services(logs: Path, slower: Sequence[float]) -> dict[str, LocalService]:
    """Return a service for each condition: the profile `optimized`, its inference made slower by each share."""
    project = read_project(ROOT, None)
    plain = project.profiles["optimized"]
    launch = Launch(service=project.service, ready=project.ready, cwd=ROOT, boot_timeout=300.0)
    found = {}
    for name, slowdown in {FIRST: 0.0, AGAIN: 0.0, **{f"{100 * s:g} % slower": s for s in slower}}.items():
        service = {**plain.service, **({"slowdown": {"infer": slowdown}} if slowdown else {})}
        log = logs / f"{name.replace(' ', '-')}.log"
        found[name] = LocalService(replace(plain, service=service), launch, log=log)
    return found


async def measure(load: Load, seed: int, slower: Sequence[float], in_whole: Sequence[str]) -> Round:
    """Boot all conditions in an order that the seed turns, warm them up, and load them."""
    schedule, bodies, _ = draw_requests(load, seed)
    with tempfile.TemporaryDirectory() as logs, contextlib.ExitStack() as stack:
        every = list(services(Path(logs), slower).items())
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
        began, turns = time.monotonic(), {}
        for name in [name for name, _ in order if name != FIRST]:
            pair = {FIRST: up[FIRST], name: up[name]}
            loaded = await load_in_turns(load, pair, schedule, bodies, lambda event: None)
            reference, candidate = loaded[FIRST].run, loaded[name].run
            assert reference is not None
            assert candidate is not None
            turns[name] = reference, candidate
        took = (time.monotonic() - began) / (2 * len(turns))
        whole = {}
        for name in [name for name, _ in order if name in in_whole]:
            whole[name] = await load.options.generator(load.target.at(up[name].url)).issue(schedule, bodies)
        return Round(turns=turns, whole=whole, boot=boot, load=took)


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


def fill(folder: Path, load: Load, rounds: int, slower: Sequence[float], in_whole: Sequence[str]) -> list[Round]:
    """Measure the rounds that the pool lacks, and return all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in range(rounds):
        path = folder / f"round-{seed:02}.json"
        if not path.exists():
            done = asyncio.run(measure(load, seed, slower, in_whole))
            path.write_text(json.dumps(to_document(done, Round)), encoding="utf-8")
            ratios = {
                name: round(float(np.median(b.latencies) / np.median(a.latencies)), 3)
                for name, (a, b) in done.turns.items()
            }
            print(f"round {seed + 1} of {rounds}: medians {ratios}", flush=True)
        found.append(from_document(json.loads(path.read_text(encoding="utf-8")), Round))
    return found


def draw(pool: Sequence[Round], name: str, pairs: int, rng: np.random.Generator, *, whole: bool) -> list[list[Run]]:
    """Return one comparison: both sides, of as many rounds as pairs."""
    sides: list[list[Run]] = [[], []]
    for k in rng.choice(len(pool), size=pairs, replace=False):
        pair = [pool[k].whole[FIRST], pool[k].whole[name]] if whole else list(pool[k].turns[name])
        if name == AGAIN and rng.random() < 0.5:
            pair.reverse()
        for side, run in zip(sides, pair, strict=True):
            side.append(run)
    return sides


def noise(pool: Sequence[Round], metric: str, *, whole: bool) -> float:
    """Return the standard deviation of the log ratio of a pair of unchanged systems."""
    pairs = [(r.whole[FIRST], r.whole[AGAIN]) if whole else r.turns[AGAIN] for r in pool]
    found = compare([one for one, _ in pairs], [other for _, other in pairs], metric=metric).pair_ratios
    return float(np.log(found).std(ddof=1))


def mean_change(pool: Sequence[Round], name: str, metric: str) -> float:
    """Return the mean log ratio of a condition in turns."""
    pairs = [r.turns[name] for r in pool]
    found = compare([one for one, _ in pairs], [other for _, other in pairs], metric=metric).pair_ratios
    return float(np.log(found).mean())


def gate_table(pool: Sequence[Round], pairs: int, draws: int, rng: np.random.Generator, *, whole: bool) -> None:
    """Print what the gate says by each metric and as a family, and what one would otherwise pick."""
    rows = []
    for name in pool[0].turns:
        margin = MARGINS.get(name, 0.05)
        if whole and name not in pool[0].whole:
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


def plot(pool: Sequence[Round], path: Path) -> None:
    """Draw the turns of the two unchanged systems in the round whose turns differ most in what others took."""
    from matplotlib.figure import Figure

    def spread(found: Round) -> float:
        return float(np.std([turn.others for turn in found.turns[AGAIN][0].turns if turn.others is not None]))

    chosen = max(pool, key=spread).turns[AGAIN]
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    begin = min(run.turns[0].began_ns for run in chosen)
    for run, name, colour in zip(chosen, (FIRST, AGAIN), ("#1f77b4", "#d95f02"), strict=True):
        for number, (turn, part) in enumerate(zip(run.turns, run.turn_slices, strict=True)):
            at = (turn.began_ns - begin) / 1e9
            due = (run.scheduled_ns[part] - run.scheduled_ns[part.start]) / 1e9
            label = name if number == 0 else None
            above.plot(at + due, 1e3 * run.latencies[part], ".", color=colour, markersize=4, alpha=0.5)
            middle = 1e3 * float(np.median(run.latencies[part]))
            above.plot([at, at + 1.5], [middle, middle], color=colour, linewidth=2.5, label=label)
    for run in chosen:
        for turn in run.turns:
            at = (turn.began_ns - begin) / 1e9
            below.bar(at, 100 * (turn.others or 0), width=turn.seconds, align="edge", color="#888888")
    above.set(ylabel="latency in ms", yscale="log")
    above.legend(title="median of each turn", loc="upper right")
    above.yaxis.set_major_formatter("{x:g}")
    below.set(ylabel="others, %", xlabel="seconds")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Fill the pool and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, default=ROOT / ".inferbench" / "gate_real")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--duration", type=float, default=15.0)
    parser.add_argument("--slower", type=float, nargs="*", default=[0.05, 0.1, 0.2])
    parser.add_argument("--whole", nargs="*", default=[FIRST, AGAIN, "10 % slower"])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--neighbour", action="store_true")
    parser.add_argument("--plot", type=Path, help="draw the turns of one round into this file")
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
        # Rounds of another load, or of other conditions, are another pool.
        load_name = f"{options.rate:g}-per-s-{options.duration:g}-s-" + "-".join(f"{100 * s:g}" for s in options.slower)
        folder = options.pool / f"{'neighbour' if options.neighbour else 'quiet'}-{load_name}"
        pool = fill(folder, load, options.rounds, options.slower, options.whole)
    lock.release()
    if options.plot is not None:
        plot(pool, options.plot)
    runs = [run for r in pool for pair in r.turns.values() for run in pair]
    others = [turn.others for run in runs for turn in run.turns if turn.others is not None]
    seconds = 2 * float(np.mean([r.boot + r.load for r in pool]))
    print(
        f"\n{environment.cpu}, {environment.cpus} CPUs. {len(pool)} rounds, {options.rate:g} requests/s for "
        f"{options.duration:g} s in turns of {load.options.turn} s; others used {np.mean(others):.0%} of the CPU time. "
        f"A pair takes {seconds:.0f} s, boots and warm-up included.\n"
    )
    print("Noise (standard deviation of the log ratio of a pair of unchanged systems): ", end="")
    designs = (False, True) if pool[0].whole else (False,)
    for whole in designs:
        found = ", ".join(f"{metric} {noise(pool, metric, whole=whole):.1%}" for metric in ("p50", "p95"))
        print(f"{'whole runs' if whole else 'turns'} {found}", end=".\n\n" if whole is designs[-1] else "; ")
    for name in pool[0].turns:
        ratios = [float(np.exp(mean_change(pool, name, metric))) for metric in ("p50", "p95")]
        print(f"{name}: p50 x{ratios[0]:.3f}, p95 x{ratios[1]:.3f} in the mean over rounds, in turns.")
    print()
    rng = np.random.default_rng(1)
    for minutes in (5, 10):
        pairs = min(int(minutes * 60 / seconds), len(pool) - 1)
        for whole in designs:
            print(f"## {'Whole runs' if whole else 'Turns'}, {pairs} pairs (what {minutes} minutes hold)\n")
            gate_table(pool, pairs, options.draws, rng, whole=whole)


if __name__ == "__main__":
    main()
