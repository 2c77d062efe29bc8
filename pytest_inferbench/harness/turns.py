"""One pair of trials in turns: both systems are booted, and loaded one after the other for seconds at a time.

What disturbs a machine comes in bursts: two runs one after the other differ by whatever the machine did in each of
them. Turns of seconds share it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import numpy as np
import psutil

from pytest_inferbench.deployment import Deployment
from pytest_inferbench.errors import DeploymentError, LoadError
from pytest_inferbench.events import Booting, Observer, Ready, TurnBegan
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
from pytest_inferbench.judgement.phrases import count
from pytest_inferbench.judgement.validity import Finding
from pytest_inferbench.loadgen import LoadGenerator
from pytest_inferbench.machine.cpu_time import (
    CpuSnapshot,
    cpu_seconds_of,
    others_by_name,
    share_of_others,
    take_cpu_snapshot,
)
from pytest_inferbench.machine.resource_meter import ResourceMeter, measured_resources
from pytest_inferbench.runs.run import Run, Turn
from pytest_inferbench.runs.usage import Resources
from pytest_inferbench.workload.arrivals import ClosedLoop, Schedule
from pytest_inferbench.workload.turns import TurnPlan, plan_turns

__all__ = ["Alternation", "DoesNotFit", "describe_alternation", "run_pair_in_turns", "why_whole_runs"]

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
    """How two systems alternate in one measurement. ``whole_runs``: why they do so by whole runs; empty: in turns."""

    whole_runs: str = ""

    @property
    def in_turns(self) -> bool:
        """Whether they are loaded in turns."""
        return not self.whole_runs


@dataclass(slots=True)
class _Booted:
    """One system of the pair, ready for its turns."""

    service: Deployment
    findings: tuple[Finding, ...]
    issue: Callable[[], Awaitable[Run | None]]
    meter: ResourceMeter
    others: list[float | None] = field(default_factory=list)
    idle: list[tuple[float, float]] = field(default_factory=list)  # CPU seconds, seconds


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
        if system.profile.deployment.kind != "local":
            return f"profile {system.profile.name} runs in a cluster"
    ports = [system.profile.deployment.port for system in systems]
    if ports[0] and len(set(ports)) == 1:
        return f"both systems use port {ports[0]} (deployment.port)"
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
    """Boot and warm up both ``systems`` ("reference" and "candidate"), in that order, load them in turns, and end both.

    Returns the trial of each. Raises DoesNotFit if the second cannot be booted beside the first; nothing is left then.
    """
    assert load.options.turn is not None
    around = procedure or Procedure()
    schedule, bodies, sizes = draw_requests(load, seed)
    plan = plan_turns(schedule, load.workload.duration, seconds=load.options.turn)
    speeds = [around.measure_speed()]
    services: dict[str, Deployment] = {}
    findings: dict[str, tuple[Finding, ...]] = dict.fromkeys(systems, ())
    runs: dict[str, Run] = {}
    used: dict[str, float] = {}
    try:
        for role, system in systems.items():
            if services:
                _require_room(services)
            observe(steps[role])
            services[role] = system.deploy()
            try:
                await asyncio.to_thread(services[role].boot, boot_progress(observe))
            except DeploymentError as error:
                if len(services) == 1:
                    raise
                raise DoesNotFit(
                    f"{system.name} does not boot beside the other ({str(error).splitlines()[0]})"
                ) from None
            observe(Ready(seconds=services[role].boot_seconds))
            endpoint = load.target.at(services[role].url)
            findings[role] += await around.warm_up(
                LoadGenerator(endpoint), bodies, services[role], observe, load.warmup
            )
        async with AsyncExitStack() as stack:
            booted: dict[str, _Booted] = {}
            for role, service in services.items():
                pid = service.pid
                meter = stack.enter_context(measured_resources(None if pid is None else _root_of(service)))
                generator = load.options.generator(load.target.at(service.url), observe)
                issue = await stack.enter_async_context(generator.in_turns(schedule, bodies, plan))
                booted[role] = _Booted(service, (), issue, meter)
            try:
                runs = await _take_turns(booted, plan, steps, observe, used)
            except LoadError as error:
                runs = {}
                for role in systems:
                    findings[role] += (lost_load(error),)
        for role, each in booted.items():
            run = runs.get(role)
            if run is None:
                run = Run.unissued(schedule.offsets_ns, seed=schedule.seed, digest=schedule.digest)
            else:
                run = _on_its_own_clock(run, schedule, plan, each.others)
                findings[role] += examine_run(run, each.service, around) + _busy_while_idle(each)
            runs[role] = replace(run, resources=_resources(each, run), sizes=sizes)
            findings[role] += find_death(each.service)
    finally:
        for service in services.values():
            service.stop()
    speeds.append(around.measure_speed())
    trials = {}
    for role in systems:
        run = runs[role]
        if services[role].pid is not None:
            run = replace(run, calibration_ns=sum(speeds) // len(speeds))
        observe(drained(steps[role], run))
        trials[role] = Trial(run, findings[role], disturbers=tuple(used.items()))
    return trials


async def _take_turns(
    booted: Mapping[str, _Booted],
    plan: TurnPlan,
    steps: Mapping[str, Booting],
    observe: Observer,
    used: dict[str, float],
) -> dict[str, Run]:
    """Issue all turns and return the run of each system; ``used``: CPU seconds of others, by name, as they add up."""
    runs: dict[str, Run] = {}
    here = all(each.service.pid is not None for each in booted.values())
    before = take_cpu_snapshot()
    for turn, reference_first in enumerate(plan.reference_first):
        order = ("reference", "candidate") if reference_first else ("candidate", "reference")
        for role, other in (order, order[::-1]):
            step = steps[role]
            observe(
                TurnBegan(
                    workload=step.workload,
                    profile=step.profile,
                    number=step.number,
                    total=step.total,
                    turn=turn + 1,
                    turns=len(plan),
                )
            )
            run = await booted[role].issue()
            after = take_cpu_snapshot()
            booted[role].others.append(share_of_others(before, after) if here else None)
            if here:
                for name, seconds in others_by_name(before, after).items():
                    used[name] = used.get(name, 0.0) + seconds
                _note_idle(booted[other], before, after)
            before = after
            if run is not None:
                runs[role] = run
    return runs


def _root_of(service: Deployment) -> Callable[[], int]:
    return lambda: service.pid or 0


def _note_idle(booted: _Booted, before: CpuSnapshot, after: CpuSnapshot) -> None:
    if booted.service.pid is not None:
        booted.idle.append((cpu_seconds_of(booted.service.pid, before, after), after.at - before.at))


def _idle(booted: _Booted) -> tuple[float, float]:
    return sum(cpu for cpu, _ in booted.idle), sum(seconds for _, seconds in booted.idle)


def _busy_while_idle(booted: _Booted) -> tuple[Finding, ...]:
    cpu, seconds = _idle(booted)
    if seconds <= 0 or cpu / seconds <= _IDLE_CPUS:
        return ()
    message = f"while nothing was sent to it, the service kept {cpu / seconds:.2f} CPUs busy: the other system had less"
    advice = "find what it computes in the background, or compare in whole runs (turns = false in the profile)"
    return (Finding("busy-while-idle", "service", message, cpu / seconds, _IDLE_CPUS, advice),)


def _resources(booted: _Booted, run: Run) -> Resources | None:
    """Return what the system used in its own turns, and the generator in all."""
    seen = booted.meter.resources
    generator = None if run.resources is None else run.resources.generator
    if seen is None or seen.service is None:
        return Resources(generator=generator)
    cpu, seconds = _idle(booted)
    service = replace(
        seen.service,
        cpu_seconds=max(0.0, seen.service.cpu_seconds - cpu),
        idle_cpus=cpu / seconds if seconds > 0 else None,
    )
    return Resources(service=service, generator=generator)


def _on_its_own_clock(run: Run, schedule: Schedule, plan: TurnPlan, others: list[float | None]) -> Run:
    """Return ``run`` on a clock that stands still while the other system has its turn, with its turns."""
    instants = {name: np.array(getattr(run, name)) for name in ("scheduled_ns", "issued_ns", "completed_ns")}
    turns = []
    shift_ns = planned_ns = previous_ns = 0
    edges = [*plan.first.tolist(), len(run)]
    for k, begin_ns in enumerate(plan.starts_ns.tolist()):
        part = slice(edges[k], edges[k + 1])
        began_ns = int(run.scheduled_ns[part.start] - (schedule.offsets_ns[part.start] - begin_ns))
        last_ns = int(max(values[part].max() for values in instants.values()))
        turns.append(
            Turn(first=part.start, began_ns=began_ns, seconds=max(0, last_ns - began_ns) / 1e9, others=others[k])
        )
        if k:
            # From the end of the turn before: when the next is due by the schedule, or later if it took longer.
            ended_ns = max(planned_ns, previous_ns)
            shift_ns = began_ns - ended_ns
        for values in instants.values():
            moved = values[part]
            moved[moved >= 0] -= shift_ns
        gap_ns = int(plan.starts_ns[k + 1] - begin_ns) if k + 1 < len(plan) else 0
        planned_ns, previous_ns = began_ns - shift_ns + gap_ns, last_ns - shift_ns
    scheduled_ns, issued_ns, completed_ns = instants.values()
    return replace(run, scheduled_ns=scheduled_ns, issued_ns=issued_ns, completed_ns=completed_ns, turns=tuple(turns))


def _require_room(services: Mapping[str, Deployment]) -> None:
    """Raise DoesNotFit if another system as large as the one that is up would not fit into memory."""
    (service,) = services.values()
    if not service.pid:
        return
    try:
        root = psutil.Process(service.pid)
        taken = sum(_own_memory(process) for process in (root, *root.children(recursive=True)))
    except psutil.Error:
        return
    free = psutil.virtual_memory().available
    if free < _ROOM * taken:
        raise DoesNotFit(f"one system takes {taken / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free")


def _own_memory(process: psutil.Process) -> int:
    """Return what a process has for itself; shared pages count in none, unless that cannot be told."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0
