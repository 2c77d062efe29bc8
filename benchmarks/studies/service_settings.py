"""What single settings of the profile `optimized` bring: each changed alone, all in turns, several boots of each.

Nobody is refused (`queue_target_ms = 0`), so that slower variants are kept as busy as the others, but in the variant
that is about refusing.

    python benchmarks/studies/service_settings.py [--rounds 2] [--seconds 6] [--only NAME ...] [--moderate 40]
        [--overload 300] [--burst 200]

Each boot gets one request after the other (median latency), is kept busy with 12 in flight (sustained rate, CPU per
request, p95), and then gets Poisson arrivals: at a moderate rate (p95), and at one that no variant can serve
(--overload): how many answers per second come within 250 ms of when they were due. At last --burst requests come at
once and, when all of them are answered, 20 one after the other (median latency).
The table has the median over the rounds, and the ratio of the sustained rate to that of the reference in the same round
as lowest to highest.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes.util
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gate_calibration import table
from serving_limit import IN_FLIGHT, LIMIT_SECONDS, ROOT, texts

from pytest_inferbench import Poisson, Target
from pytest_inferbench.config.profile import Profile, resolve_profile
from pytest_inferbench.config.project import read_project
from pytest_inferbench.deployment.local import Launch, LocalService
from pytest_inferbench.harness.warmup import warm_up
from pytest_inferbench.loadgen import LoadGenerator
from pytest_inferbench.machine.lock import MachineLock
from pytest_inferbench.machine.probe import describe_environment
from pytest_inferbench.machine.resource_meter import measured_resources
from pytest_inferbench.stats.quantiles import quantile

SHIPPED = "optimized"
REFERENCE = "optimized, nobody refused"
TORCH = {"engine": "torch", "precision": "fp32", "threads": 2, "streams": 1, "threads_alone": 0}
#: What each variant changes in the reference.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    REFERENCE: {},
    "optimized, as shipped": {"service": {"queue_target_ms": 120}},
    "a lone text on one thread too": {"runtime": {"threads_alone": 0}},
    "one inference at a time, on 2 threads": {"runtime": {"threads": 2, "streams": 1}},
    "2 workers of one inference each": {"runtime": {"streams": 1, "threads_alone": 0}, "deployment": {"workers": 2}},
    "batches of up to 8": {"service": {"max_batch_size": 8}},
    "batches of up to 16": {"service": {"max_batch_size": 16}},
    "access log, tracing and metrics on": {"service": {"access_log": True, "tracing": True, "metrics": True}},
    "BentoML's adaptive batching": {
        "runtime": {"threads": 2, "streams": 1},
        "service": {"batcher": "bentoml", "max_batch_size": 16},
    },
    "ONNX Runtime fp32": {"runtime": {"precision": "fp32"}},
    "torch fp32": {"runtime": TORCH},
    "torch bf16": {"runtime": {**TORCH, "precision": "bf16"}},
    "torch fp32, compiled": {"runtime": {**TORCH, "compiled": True}},
    "jemalloc": {"deployment": {"environment": {"LD_PRELOAD": ctypes.util.find_library("jemalloc") or ""}}},
    "priority of the service raised (nice -10)": {"deployment": {"nice": -10}},
}


def profile_of(changes: Mapping[str, Mapping[str, Any]]) -> Profile:
    """Return the reference with what a variant changes."""
    shipped = read_project(ROOT, None).profiles[SHIPPED]
    base = {"runtime": dict(shipped.runtime), "service": {**shipped.service, "queue_target_ms": 0}}
    return resolve_profile("variant", {SHIPPED: base, "variant": {"extends": SHIPPED, **changes}}, where="study")


async def measure(name: str, options: argparse.Namespace, logs: Path, number: int) -> dict[str, float]:
    """Return what one boot of a variant does."""
    project = read_project(ROOT, None)
    launch = Launch(service=project.service, ready=project.ready, cwd=ROOT, boot_timeout=300.0)
    service = LocalService(profile_of(VARIANTS[name]), launch, log=logs / f"{number}.log")
    try:
        await asyncio.to_thread(service.boot)
        endpoint = Target("/classify", timeout=60.0).at(service.url)
        closed = partial(LoadGenerator(endpoint).issue_closed, concurrency=IN_FLIGHT)
        await warm_up(LoadGenerator(endpoint), texts(96), service, lambda event: None)
        pilot = await closed(texts(64))
        with measured_resources(lambda: service.pid) as meter:
            busy = await closed(texts(max(100, round(pilot.throughput * options.seconds))))
        used = meter.resources
        few = texts(max(20, round(5 * options.seconds)))
        alone = await LoadGenerator(endpoint).issue_closed(few, concurrency=1)
        cpu = used.service.cpu_seconds if used and used.service else float("nan")
        moderate, over = [
            await LoadGenerator(endpoint, drain_timeout=15.0).issue(schedule, texts(len(schedule), number))
            for schedule in (
                Poisson(rate).schedule(options.seconds, number) for rate in (options.moderate, options.overload)
            )
        ]
        await LoadGenerator(endpoint).issue_closed(texts(options.burst), concurrency=options.burst)
        after = await LoadGenerator(endpoint).issue_closed(few[:20], concurrency=1)
    finally:
        service.stop()
    return {
        "alone": 1e3 * quantile(alone.latencies, 0.5),
        "after": 1e3 * quantile(after.latencies, 0.5),
        "moderate": 1e3 * quantile(moderate.latencies, 0.95),
        "sustained": busy.throughput,
        "cpu": 1e3 * cpu / len(busy),
        "p95": 1e3 * quantile(busy.latencies, 0.95),
        "good": int((over.latencies <= LIMIT_SECONDS).sum()) / options.seconds,
    }


def main() -> None:
    """Measure all variants in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a run")
    parser.add_argument("--moderate", type=float, default=40.0, help="arrivals per second")
    parser.add_argument("--overload", type=float, default=300.0, help="arrivals per second")
    parser.add_argument("--burst", type=int, default=200, help="requests at once")
    parser.add_argument("--only", action="append", metavar="NAME", help="with the reference, these alone; repeatable")
    options = parser.parse_args()
    names = [name for name in VARIANTS if not options.only or name in (REFERENCE, *options.only)]
    if "jemalloc" in names and ctypes.util.find_library("jemalloc") is None:
        names.remove("jemalloc")
        print("jemalloc: skipped, not installed on this machine")
    if "priority of the service raised (nice -10)" in names and os.geteuid() != 0:
        names.remove("priority of the service raised (nice -10)")
        print("priority: skipped, only root may raise it")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    lock = MachineLock()
    while not lock.try_acquire():
        time.sleep(1.0)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for name in names if number % 2 == 0 else reversed(names):
                found[name].append(asyncio.run(measure(name, options, Path(folder), number)))
                print(f"{number + 1}: {name}: {found[name][-1]}", file=sys.stderr, flush=True)
    lock.release()
    environment = describe_environment(ROOT)
    print(
        f"\n{environment.cpu}, {environment.cpus} CPUs; {options.rounds} boots of each in turns, runs of "
        f"{options.seconds:g} s; moderate: {options.moderate:g}/s, overload: {options.overload:g}/s, "
        f"burst: {options.burst} at once.\n"
    )
    rows = []
    for name in names:
        median = {key: float(np.median([one[key] for one in found[name]])) for key in found[name][0]}
        ratios = [one["sustained"] / base["sustained"] for one, base in zip(found[name], found[REFERENCE], strict=True)]
        spread = f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        columns = (("cpu", 1), ("p95", 0), ("alone", 1), ("after", 1), ("moderate", 0), ("good", 0))
        figures = [f"{median[key]:.{digits}f}" for key, digits in columns]
        rows.append([name, f"{median['sustained']:.0f}", spread, *figures])
    table(
        [
            "",
            "sustained /s",
            "of the first",
            "CPU ms/request",
            "p95 ms",
            "p50 alone ms",
            "p50 alone after a burst ms",
            "p95 moderate ms",
            "in time /s, overloaded",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
