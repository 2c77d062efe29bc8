"""What a stored baseline says of unchanged code on a machine that others slow down, with and without its speed.

    python benchmarks/studies/machine_speed.py [--boots 5] [--rate 20] [--duration 8]

measures the shipped service under `optimized` while the machine is quiet, as a baseline is recorded; then again, and
then beside one and two processes that compute all the time, which stand for neighbours on the host. Each series is
held against the first one as a stored baseline is, by runs that know the machine's speed and by the same without it.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from gate_calibration import table

from benchmarks.conftest import texts_like_the_benchmarks
from pytest_inferbench import Measurement, Poisson, Run, Target
from pytest_inferbench.config.project import read_project
from pytest_inferbench.deployment.local import Launch, LocalService
from pytest_inferbench.events import Booting
from pytest_inferbench.harness.trial import Load, LoadOptions, System, run_trial
from pytest_inferbench.judgement.machine_drift import machine_drift
from pytest_inferbench.judgement.measurement import Reference
from pytest_inferbench.machine.lock import MachineLock
from pytest_inferbench.machine.probe import describe_environment
from pytest_inferbench.workload.workload import Workload

ROOT = Path(__file__).parents[2]
SERIES = {"quiet": 0, "quiet again": 0, "one busy process": 1, "two busy processes": 2}
METRICS = ("p50", "p95")
#: One thread that multiplies matrices for ever, or until its standard input closes: it does not outlive this script.
BUSY = """
import os, threading, sys
os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
import numpy as np
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
matrix = np.ones((1024, 1024), np.float32)
while True:
    matrix @ matrix
"""


@contextmanager
def neighbour() -> Iterator[None]:
    """A process that computes all the time."""
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def series(load: Load, side: System, boots: int, neighbours: int) -> tuple[Run, ...]:
    """Return the runs of ``boots`` boots beside so many neighbours."""
    runs = []
    with ExitStack() as stack:
        for _ in range(neighbours):
            stack.enter_context(neighbour())
        for seed in range(boots):
            step = Booting(workload=load.workload.name, profile=side.name, number=seed + 1, total=boots)
            trial = await run_trial(load, side, seed, step, lambda event: None)
            for finding in trial.findings:
                print(f"boot {seed + 1} of {boots}: {finding.rule}: {finding.message}", flush=True)
            runs.append(trial.run)
    return tuple(runs)


def judged(measurement: Measurement, reference: tuple[Run, ...], metric: str) -> tuple[str, str, str]:
    """Return ratio, outcome without the speed, and outcome with it."""
    known = replace(measurement, reference=Reference(label="baseline", runs=reference, stored=True))
    unknown = replace(known, runs=tuple(replace(run, calibration_ns=None) for run in known.runs))
    without, informed = (m.has_not_regressed(metrics=[metric]).checks[0] for m in (unknown, known))
    low, high = informed.interval
    return f"{informed.ratio:.2f} ({low:.2f} to {high:.2f})", str(without.outcome), str(informed.outcome)


def main() -> None:
    """Measure the series and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boots", type=int, default=5)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--duration", type=float, default=8.0)
    options = parser.parse_args()
    project, environment = read_project(ROOT, None), describe_environment(ROOT)
    profile = project.profiles["optimized"]
    launch = Launch(service=project.service, ready=project.ready, cwd=ROOT, boot_timeout=300.0)
    load = Load(
        workload=Workload("steady", Poisson(options.rate), options.duration),
        target=Target(project.path),
        payloads=texts_like_the_benchmarks,
        options=LoadOptions(drain_timeout=15.0),
    )
    lock = MachineLock()
    while not lock.try_acquire():
        time.sleep(1.0)
    found = {}
    with tempfile.TemporaryDirectory() as logs:
        side = System(
            name="optimized",
            profile=profile,
            deploy=partial(LocalService, profile, launch, log=Path(logs) / "service.log"),
        )
        for name, neighbours in SERIES.items():
            found[name] = asyncio.run(series(load, side, options.boots, neighbours))
            print(f"{name}: {options.boots} boots measured", flush=True)
    lock.release()
    recorded, *others = found
    rows = []
    for name in others:
        measurement = Measurement(workload=load.workload, profile=side.name, runs=found[name], environment=environment)
        moved = machine_drift(found[recorded], found[name], alpha=0.05)
        speed = "" if moved is None else f"{moved.ratio:.2f} ({moved.interval[0]:.2f} to {moved.interval[1]:.2f})"
        rows += [[name, speed, metric, *judged(measurement, found[recorded], metric)] for metric in METRICS]
    told = f"{options.boots} boots per series, {options.rate:g} requests/s for {options.duration:g} s"
    print(f"\n{environment.cpu}, {environment.cpus} CPUs. {told}.\n")
    table(
        ["machine", "reference computation, ratio", "metric", "latency ratio", "without adjustment", "with adjustment"],
        rows,
    )


if __name__ == "__main__":
    main()
