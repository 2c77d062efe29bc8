"""How near serving comes to what the model's runtime can do, on this machine, beside other ways to serve the model.

    python benchmarks/studies/serving_limit.py [--peers PYTHON] [--results FOLDER] [--only NAME ...]

The raw loop computes the texts of the benchmarks with the runtime of the profile `optimized` and no HTTP: batches
grouped by length, tokenization included. Every server is then given the same texts by the load generator, which runs
on the same machine: as fast as it answers with 12 in flight (sustained; what it refuses is shown and not
counted), at the same moderate rate for all, in a search for the highest Poisson rate at which p95 <= 250 ms and
errors <= 1 % hold (capacity), and at twice that rate.

PYTHON is an interpreter that has torch, transformers, fastapi, uvicorn, litserve and bentoml; what it lacks is
skipped and named. Results are kept in FOLDER, one file each: run it again after an interruption, and it goes on.
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
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from gate_calibration import table

from benchmarks.conftest import texts_like_the_benchmarks
from pytest_inferbench import SLO, Poisson, Run, Target
from pytest_inferbench.config.profile import Profile
from pytest_inferbench.config.project import read_project
from pytest_inferbench.deployment.local import Launch, LocalService
from pytest_inferbench.harness.capacity import CapacitySearch
from pytest_inferbench.harness.trial import System
from pytest_inferbench.harness.warmup import warm_up
from pytest_inferbench.loadgen import LoadGenerator
from pytest_inferbench.machine.lock import MachineLock
from pytest_inferbench.machine.probe import describe_environment
from pytest_inferbench.machine.resource_meter import measured_resources
from pytest_inferbench.stats.quantiles import quantile
from pytest_inferbench.workload.seeds import stream
from service import engines
from service.engines.padding import groups
from service.model import source
from service.settings import Profile as ServiceProfile

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"
SERVER = SLO(p95="250ms", error_rate="1%")
LIMIT_SECONDS = 0.25
IN_FLIGHT, BATCH, TEXTS = 12, 16, 192
RAW = "raw runtime loop"
#: Name, command, the path that says it is ready, the modules it needs.
COMMANDS = {
    "FastAPI + transformers.pipeline": (("fastapi_pipeline.py", "{port}"), "/health", ("fastapi", "uvicorn")),
    "LitServe": (("litserve_api.py", "{port}"), "/health", ("litserve",)),
    "plain BentoML": (
        *(("-m", "bentoml", "serve", "bentoml_plain:Sentiment", "--host", "{host}", "--port", "{port}"), "/readyz"),
        ("bentoml",),
    ),
}


def texts(number: int, seed: int = 0) -> list[object]:
    """Return the payloads of the benchmarks."""
    return list(texts_like_the_benchmarks(number, stream(seed, "payloads")))


def raw_loop(seconds: float) -> dict[str, Any]:
    """Compute the mix for so long with every stream of the runtime, and return the rate."""
    project = read_project(ROOT, None)
    runtime = ServiceProfile.from_json(project.profiles["optimized"].to_json()).runtime
    engine, _ = engines.load(runtime)
    words = [str(payload["text"]) for payload in texts(TEXTS) if isinstance(payload, dict)]
    done = [0] * runtime.streams
    turn = count()
    ready = threading.Barrier(runtime.streams + 1)
    until = [0.0]

    def work(number: int) -> None:
        engine.logits(engine.tokenize(words[:BATCH]))
        ready.wait()
        while time.perf_counter() < until[0]:
            start = next(turn) * BATCH % len(words)
            ids = engine.tokenize(words[start : start + BATCH])
            for group in groups([len(row) for row in ids]):
                engine.logits([ids[index] for index in group])
            done[number] += len(ids)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(runtime.streams)]
    for thread in threads:
        thread.start()
    while ready.n_waiting < runtime.streams:
        time.sleep(0.01)
    began, used = time.perf_counter(), time.process_time()
    until[0] = began + seconds
    ready.wait()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    return {"sustained": sum(done) / took, "cpu": (time.process_time() - used) / sum(done), "n": sum(done)}


def shipped(name: str, logs: Path) -> System:
    """Return a profile of this project's service."""
    project = read_project(ROOT, None)
    profile = project.profiles[name]
    launch = Launch(service=project.service, ready=project.ready, cwd=ROOT, boot_timeout=300.0)
    return System(name=name, profile=profile, deploy=partial(LocalService, profile, launch, log=logs / f"{name}.log"))


def peer(name: str, python: str, logs: Path) -> System | str:
    """Return another server of the same model, or why it cannot be run."""
    command, ready, modules = COMMANDS[name]
    needed = (*modules, "torch", "transformers")
    asked = [python, "-c", "import importlib.util as u, sys; print(*[m for m in sys.argv[1:] if not u.find_spec(m)])"]
    try:
        missing = subprocess.run([*asked, *needed], capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"{python} cannot be run ({error})"
    if missing:
        return f"{python} has no {', '.join(missing)}"
    profile = Profile(name)
    launch = Launch(service=None, command=(python, *command), ready=ready, cwd=PEERS, boot_timeout=300.0)
    log = logs / f"{command[0].strip('-')}.log"
    return System(name=name, profile=profile, deploy=partial(LocalService, profile, launch, log=log))


def figures(run: Run) -> dict[str, Any]:
    """Return what one open-loop run says."""
    cpu = run.resources.service.cpu_seconds if run.resources and run.resources.service else float("nan")
    return {
        "n": len(run),
        "failed": int(run.failed.sum()),
        "p50": quantile(run.latencies, 0.5),
        "p95": quantile(run.latencies, 0.95),
        "cpu": cpu / max(1, int((~run.failed).sum())),
        "good": int((run.latencies <= LIMIT_SECONDS).sum()),
    }


async def serve(side: System, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one server in one boot, and its capacity in another."""
    service = side.deploy()
    assert isinstance(service, LocalService)
    found: dict[str, Any] = {}
    target = Target("/classify", timeout=60.0)
    try:
        await asyncio.to_thread(service.boot)
        endpoint = target.at(service.url)
        await warm_up(LoadGenerator(endpoint), texts(96), service, lambda event: None)
        pilot = await LoadGenerator(endpoint).issue_closed(texts(64), concurrency=IN_FLIGHT)
        closed = texts(max(100, round(pilot.throughput * options.seconds)))
        busy = await LoadGenerator(endpoint).issue_closed(closed, concurrency=IN_FLIGHT)
        found |= {"sustained": busy.throughput, "sustained_n": len(busy), "sustained_failed": int(busy.failed.sum())}

        async def issue(rate: float, seed: int) -> Run:
            schedule = Poisson(rate).schedule(options.seconds, seed)
            generator = LoadGenerator(endpoint, drain_timeout=15.0)
            with measured_resources(lambda: service.pid) as meter:
                run = await generator.issue(schedule, texts(len(schedule), seed))
            return replace(run, resources=meter.resources)

        found["equal"] = figures(await issue(options.rate, 1))
        search = CapacitySearch(
            target=target,
            payloads=texts_like_the_benchmarks,
            seed=0,
            observe=lambda event: None,
            duration=options.seconds,
        )
        capacity = await search.find(_Booted.side(side, service), SERVER, boots=1)
        found |= {"capacity": capacity.rate, "interval": capacity.interval, "probes": len(capacity.probes)}
        found["twice"] = figures(await issue(2 * capacity.rate, 2))
    finally:
        service.stop()
    return found


class _Booted:
    """A service that runs already, as a deployment that neither starts nor ends it."""

    boot_seconds = 0.0

    def __init__(self, service: LocalService) -> None:
        self._service = service

    @classmethod
    def side(cls, side: System, service: LocalService) -> System:
        return System(name=side.name, profile=side.profile, deploy=partial(cls, service))

    @property
    def url(self) -> str:
        return self._service.url

    @property
    def alive(self) -> bool:
        return self._service.alive

    def boot(self, progress: object = None) -> None:
        pass

    def stop(self) -> None:
        pass

    def log_tail(self) -> str:
        return self._service.log_tail()


def row(name: str, found: Mapping[str, Any], raw: float, seconds: float) -> list[str]:
    """Return one line of the table."""
    share = f"{found['sustained']:.1f} ({100 * found['sustained'] / raw:.0f} %)"
    if refused := found.get("sustained_failed"):
        share += f", {refused} of {found['sustained_n']} failed"
    if name == RAW:
        return [name, share, "", "", "", "", f"{1e3 * found['cpu']:.1f}", ""]
    equal, twice = found["equal"], found["twice"]
    low, high = found["interval"]
    return [
        name,
        share,
        f"{found['capacity']:.1f} ({low:.1f} to {high:.1f})",
        f"{1e3 * equal['p50']:.1f}",
        f"{1e3 * equal['p95']:.1f}",
        str(equal["n"]),
        f"{1e3 * equal['cpu']:.1f}",
        f"{100 * twice['good'] / seconds / found['capacity']:.0f} %",
    ]


def main() -> None:
    """Measure what is not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--results", type=Path, default=ROOT / ".inferbench" / "serving_limit")
    parser.add_argument("--only", action="append", metavar="NAME", help="measure these alone; repeatable")
    parser.add_argument("--rate", type=float, default=4.0, help="of the runs at equal load, per second")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a run")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    os.environ["STUDY_MODEL"] = str(source.resolve(None).folder)
    lock = MachineLock()
    while not lock.try_acquire():
        time.sleep(1.0)
    found: dict[str, dict[str, Any]] = {}
    skipped: list[str] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        names: Sequence[str] = [RAW, "baseline", "optimized", *COMMANDS]
        for name in names:
            kept = options.results / f"{name.replace(' ', '_')}.json"
            with contextlib.suppress(OSError, ValueError):
                found[name] = json.loads(kept.read_text(encoding="utf-8"))
                continue
            if options.only and name not in options.only:
                continue
            if name == RAW:
                found[name] = raw_loop(options.seconds)
            else:
                side = peer(name, options.peers, logs) if name in COMMANDS else shipped(name, logs)
                if isinstance(side, str):
                    skipped.append(f"{name}: skipped, {side}")
                    continue
                found[name] = asyncio.run(serve(side, options))
            kept.write_text(json.dumps(found[name]), encoding="utf-8")
            print(f"{name}: measured after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    lock.release()
    environment = describe_environment(ROOT)
    print(
        f"\n{environment.cpu}, {environment.cpus} CPUs; the load generator runs on them too. One boot each, runs of "
        f"{options.seconds:g} s; equal load: {options.rate:g}/s.\n"
    )
    columns = [
        "server",
        "sustained /s (share of raw)",
        "capacity /s (last step)",
        "p50 ms",
        "p95 ms",
        "n",
        "CPU ms/request",
    ]
    raw = found.get(RAW, {}).get("sustained", float(np.nan))
    rows = [row(name, found[name], raw, options.seconds) for name in names if name in found]
    table([*columns, "goodput at 2 x capacity"], rows)
    for line in skipped:
        print(line)


if __name__ == "__main__":
    main()
