"""One pair of trials in turns: both systems are booted, and loaded one after the other for seconds at a time.

What disturbs a machine comes in bursts: two runs one after the other differ by whatever the machine did in each of
them. Turns of seconds share it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import psutil

from pytest_inferbench.deployment import Deployment, Watched
from pytest_inferbench.errors import DeploymentError, LoadError
from pytest_inferbench.events import Booting, Observer, Ready
from pytest_inferbench.harness.history import Pair
from pytest_inferbench.harness.trial import (
    Load,
    Procedure,
    System,
    Trial,
    boot_progress,
    drained,
    draw_requests,
    examine_run,
    find_death,
    lost_load,
)
from pytest_inferbench.harness.turn_load import Loaded, load_in_turns
from pytest_inferbench.judgement.phrases import count
from pytest_inferbench.judgement.turns_per_boot import times_as_long
from pytest_inferbench.judgement.validity import Finding
from pytest_inferbench.loadgen import LoadGenerator
from pytest_inferbench.machine.probe import free_memory
from pytest_inferbench.runs.run import Run
from pytest_inferbench.runs.usage import Resources
from pytest_inferbench.workload.arrivals import ClosedLoop, Constant, Gamma, Poisson

__all__ = [
    "Alternation",
    "DoesNotFit",
    "describe_alternation",
    "run_pair_in_turns",
    "why_whole_runs",
]

#: The second system is not booted where less than so many times the memory of the first is free.
_ROOM = 1.1
#: CPUs that an idle system may keep busy before that is a finding: it takes them from the other system.
_IDLE_CPUS = 0.1
#: The share of the CPU time from which on others are mentioned.
_MENTIONED = 0.05


class DoesNotFit(Exception):
    """The two systems cannot be up at the same time; the message says why."""


@dataclass(slots=True)
class Alternation:
    """How two systems alternate in one measurement.

    ``whole_runs``: why they do so by whole runs; empty: in turns. ``times``: how many times as long as their workload
    says the next runs are, where that is worth their boots.
    """

    whole_runs: str = ""
    times: int = 1

    @property
    def in_turns(self) -> bool:
        """Whether they are loaded in turns."""
        return not self.whole_runs

    def lengthen(self, load: Load, pairs: Sequence[Pair], metrics: Sequence[str]) -> None:
        """Let the next runs be as long as is worth a boot, from what ``pairs`` show."""
        if not self.in_turns or self.times > 1 or not isinstance(load.workload.process, Poisson | Gamma | Constant):
            return  # of these processes a longer run begins with the arrivals of a shorter one
        both = [(pair.reference.run, pair.candidate.run) for pair in pairs if pair.reference is not None]
        boot, loading = (
            sum(getattr(pair.candidate, what) for pair in pairs) / len(pairs)
            for what in ("boot_seconds", "load_seconds")
        )
        self.times = times_as_long(both, metrics, boot_seconds=boot, load_seconds=loading)

    def next_load(self, load: Load) -> Load:
        """Return ``load`` for the next pair."""
        if self.times == 1:
            return load
        return replace(load, workload=replace(load.workload, duration=self.times * load.workload.duration))

    def next_seconds(self, pairs: Sequence[Pair]) -> float:
        """Return about how long the next pair takes, from those in turns so far; 0 where there are none."""
        known = [pair.candidate for pair in pairs if pair.candidate.load_seconds]
        if not known:
            return 0.0
        boot = sum(trial.boot_seconds for trial in known) / len(known)
        return boot + self.times * min(trial.load_seconds for trial in known)


def why_whole_runs(load: Load, *systems: System) -> str:
    """Return why these systems are loaded for a whole run each, one after the other; empty if turns are possible."""
    if load.options.turn is None:
        return "turns are switched off"
    if load.disruptions:
        return "each system is disrupted by itself"
    if isinstance(load.workload.process, ClosedLoop):
        return "a closed loop has no schedule to cut into turns"
    if load.options.generators != 1:
        return "several load generators are in use"
    for system in systems:
        if not system.profile.turns:
            return f"profile {system.profile.name} says turns = false"
    specs = [system.profile.deployment for system in systems]
    if specs[0].port and len({spec.port for spec in specs}) == 1:
        return f"both systems use port {specs[0].port} (deployment.port)"
    places = {(spec.context, spec.namespace, spec.overlay) for spec in specs}
    if specs[0].kind == "kubernetes" and len(places) == 1:
        return f"both systems would have the same names in namespace {specs[0].namespace} (deployment.namespace)"
    return ""


def describe_alternation(alternation: Alternation, pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return in sentences how the systems of ``pairs`` alternated, and what else used the machine meanwhile."""
    if not alternation.in_turns:
        return (f"whole runs, one system at a time: {alternation.whole_runs}",)
    turns = [turn for pair in pairs for trial in pair.trials for turn in trial.run.turns]
    if not turns:
        return ()
    typical = sorted(turn.seconds for turn in turns)[len(turns) // 2]
    per_run = len(turns) // (2 * len(pairs))
    notes = [f"both systems were up and loaded in turns of {typical:.1f} s, {count(per_run, 'turn')} in each run"]
    if alternation.times > 1:
        notes.append(f"the last runs are {alternation.times} times as long as the workload says: boots take long")
    known = [turn.others for turn in turns if turn.others is not None]
    if known:
        share = sum(known) / len(known)
        if share >= _MENTIONED:
            notes.append(f"others used {share:.0%} of the CPU time meanwhile{_names(pairs)}")
    return tuple(notes)


def _names(pairs: Sequence[Pair]) -> str:
    """Return the names of those that used most, as far as they can be seen."""
    used: dict[str, float] = {}
    for pair in pairs:
        for name, seconds in pair.candidate.disturbers:
            used[name] = used.get(name, 0.0) + seconds
    total = sum(used.values())
    largest = [name for name in sorted(used, key=lambda name: -used[name])[:3] if used[name] > total / 10]
    return f" (mostly {', '.join(largest)})" if largest else ""


async def run_pair_in_turns(
    load: Load,
    systems: Mapping[str, System],
    seed: int,
    steps: Mapping[str, Booting],
    observe: Observer,
    procedure: Procedure | None = None,
) -> dict[str, Trial]:
    """Boot and warm up ``systems`` in that order, load them in turns, end them, and return the trial of each.

    Raises DoesNotFit if a further one cannot be booted beside the first; nothing is left then.
    """
    around = procedure or Procedure()
    schedule, bodies, sizes = draw_requests(load, seed)
    began = time.monotonic()
    speeds = [around.measure_speed()]
    services: dict[str, Deployment] = {}
    findings: dict[str, tuple[Finding, ...]] = dict.fromkeys(systems, ())
    runs = {role: Run.unissued(schedule.offsets_ns, seed=seed, digest=schedule.digest) for role in systems}
    used: dict[str, float] = {}
    try:
        for role, system in systems.items():
            observe(steps[role])
            services[role] = await _boot(system, services, observe)
            generator = LoadGenerator(load.target.at(services[role].url))
            findings[role] += await around.warm_up(generator, bodies, services[role], observe, load.warmup)
        watches = {
            role: await asyncio.to_thread(service.watch)
            for role, service in services.items()
            if isinstance(service, Watched)
        }
        ready = time.monotonic()
        try:
            loaded = await load_in_turns(load, services, schedule, bodies, observe, steps=steps, used=used)
        except LoadError as error:
            # The load generator failed: the measurement is void, and says why; the other pairs' figures remain.
            findings = {role: (*found, lost_load(error)) for role, found in findings.items()}
        else:
            for role, each in loaded.items():
                assert each.run is not None
                runs[role] = replace(each.run, resources=each.resources)
                findings[role] += (*examine_run(runs[role], services[role], around), *_busy_while_idle(each))
        for role, watch in watches.items():
            pods, events = await asyncio.to_thread(watch.end)
            resources = replace(runs[role].resources or Resources(), pods=pods, events=events)
            runs[role] = replace(runs[role], resources=resources)
        for role, service in services.items():
            findings[role] += find_death(service)
    finally:
        for service in services.values():
            service.stop()
    speeds.append(around.measure_speed())
    calibration_ns = sum(speeds) // len(speeds)
    trials = {}
    for role, run in runs.items():
        here = services[role].pid is not None
        run = replace(run, sizes=sizes, calibration_ns=calibration_ns if here else None)
        observe(drained(steps[role], run))
        trials[role] = Trial(
            run,
            findings[role],
            disturbers=tuple(used.items()),
            boot_seconds=ready - began,
            load_seconds=time.monotonic() - ready,
        )
    return trials


async def _boot(system: System, services: Mapping[str, Deployment], observe: Observer) -> Deployment:
    """Boot ``system`` beside the running ``services``. Raises DoesNotFit if it is not the first and that fails."""
    if services:
        _require_room(services)
    service = system.deploy()
    try:
        await asyncio.to_thread(service.boot, boot_progress(observe))
    except BaseException as error:
        service.stop()
        if not services or not isinstance(error, DeploymentError):
            raise
        raise DoesNotFit(f"{system.name} does not boot beside the other ({str(error).splitlines()[0]})") from None
    observe(Ready(seconds=service.boot_seconds))
    return service


def _busy_while_idle(loaded: Loaded) -> tuple[Finding, ...]:
    cpus = loaded.idle_cpus
    if cpus is None or cpus <= _IDLE_CPUS:
        return ()
    message = f"while nothing was sent to it, the service kept {cpus:.2f} CPUs busy: the other system had less"
    advice = "find what it computes in the background, or compare in whole runs (turns = false in the profile)"
    return (Finding("busy-while-idle", "service", message, cpus, _IDLE_CPUS, advice),)


def _require_room(services: Mapping[str, Deployment]) -> None:
    """Raise DoesNotFit if another system as large as the largest that is up would not fit into memory."""
    taken = max(_memory_of(service) for service in services.values())
    free = free_memory()
    if free < _ROOM * taken:
        raise DoesNotFit(f"one system takes {taken / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free")


def _memory_of(service: Deployment) -> int:
    """Return the memory that the processes of a service have for themselves; 0 where that cannot be told."""
    total = 0
    try:
        root = psutil.Process(service.pid) if service.pid else None
        for process in [root, *root.children(recursive=True)] if root is not None else []:
            total += int(process.memory_full_info().uss)
    except psutil.Error:
        return total
    return total
