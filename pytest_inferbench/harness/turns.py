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

__all__ = [
    "Alternation",
    "DoesNotFit",
    "Loaded",
    "describe_alternation",
    "load_in_turns",
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
    """How two systems alternate in one measurement. ``whole_runs``: why they do so by whole runs; empty: in turns."""

    whole_runs: str = ""

    @property
    def in_turns(self) -> bool:
        """Whether they are loaded in turns."""
        return not self.whole_runs


@dataclass(slots=True)
class Loaded:
    """What came of loading one system in turns.

    ``run``: on a clock of its own; None before the end. ``idle``: CPU seconds that the service used while others had
    their turns, and how long that was. ``meter``: of its processes.
    """

    meter: ResourceMeter
    issue: Callable[[], Awaitable[Run | None]]
    run: Run | None = None
    others: list[float | None] = field(default_factory=list)
    idle_cpu: float = 0.0
    idle_seconds: float = 0.0

    @property
    def idle_cpus(self) -> float | None:
        """How many CPUs it kept busy while it was idle; None if that is not known."""
        return self.idle_cpu / self.idle_seconds if self.idle_seconds > 0 else None

    @property
    def resources(self) -> Resources:
        """What the system used in its own turns, and its generator in all."""
        seen = self.meter.resources
        service = None if seen is None else seen.service
        if service is not None:
            own = max(0.0, service.cpu_seconds - self.idle_cpu)
            service = replace(service, cpu_seconds=own, idle_cpus=self.idle_cpus)
        used = None if self.run is None or self.run.resources is None else self.run.resources.generator
        return Resources(service=service, generator=used)


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
    """Boot and warm up ``systems`` in that order, load them in turns, end them, and return the trial of each.

    Raises DoesNotFit if a further one cannot be booted beside the first; nothing is left then.
    """
    around = procedure or Procedure()
    schedule, bodies, sizes = draw_requests(load, seed)
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
        trials[role] = Trial(run, findings[role], disturbers=tuple(used.items()))
    return trials


async def load_in_turns(
    load: Load,
    services: Mapping[str, Deployment],
    schedule: Schedule,
    bodies: Sequence[object],
    observe: Observer,
    *,
    steps: Mapping[str, Booting] | None = None,
    used: dict[str, float] | None = None,
) -> dict[str, Loaded]:
    """Issue ``schedule`` to each of the running ``services``, a turn to each, then the next turn.

    ``steps``: what events call the runs. ``used`` gets the CPU seconds of processes that belong to none of them, by
    name. Raises LoadError if a load generator fails.
    """
    assert load.options.turn is not None
    plan = plan_turns(schedule, load.workload.duration, seconds=load.options.turn)
    here = all(service.pid is not None for service in services.values())
    loaded: dict[str, Loaded] = {}
    ours: list[int] = []
    async with AsyncExitStack() as stack:
        for role, service in services.items():
            meter = stack.enter_context(measured_resources(None if service.pid is None else _root_of(service)))
            generator = load.options.generator(load.target.at(service.url), observe)
            pid, issue = await stack.enter_async_context(generator.in_turns(schedule, bodies, plan))
            ours += [pid, service.pid or pid]
            loaded[role] = Loaded(meter, issue)
        before = take_cpu_snapshot()
        for turn, order in enumerate(plan.orders(list(services))):
            for role in order:
                if steps is not None:
                    observe(_turn_began(steps[role], turn, len(plan)))
                loaded[role].run = await loaded[role].issue()
                after = take_cpu_snapshot()
                loaded[role].others.append(share_of_others(before, after, ours=ours) if here else None)
                if here:
                    _note_idle(loaded, services, role, before, after)
                    if used is not None:
                        _add_up(used, others_by_name(before, after, ours=ours))
                before = after
    for each in loaded.values():
        assert each.run is not None
        each.run = _on_its_own_clock(each.run, schedule, plan, each.others)
    return loaded


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


def _turn_began(step: Booting, turn: int, turns: int) -> TurnBegan:
    return TurnBegan(
        workload=step.workload,
        profile=step.profile,
        number=step.number,
        total=step.total,
        turn=turn + 1,
        turns=turns,
    )


def _root_of(service: Deployment) -> Callable[[], int]:
    return lambda: service.pid or 0


def _note_idle(
    loaded: Mapping[str, Loaded],
    services: Mapping[str, Deployment],
    busy: str,
    before: CpuSnapshot,
    after: CpuSnapshot,
) -> None:
    for role, service in services.items():
        if role != busy and service.pid:
            loaded[role].idle_cpu += cpu_seconds_of(service.pid, before, after)
            loaded[role].idle_seconds += after.at - before.at


def _add_up(total: dict[str, float], more: Mapping[str, float]) -> None:
    for name, seconds in more.items():
        total[name] = total.get(name, 0.0) + seconds


def _busy_while_idle(loaded: Loaded) -> tuple[Finding, ...]:
    cpus = loaded.idle_cpus
    if cpus is None or cpus <= _IDLE_CPUS:
        return ()
    message = f"while nothing was sent to it, the service kept {cpus:.2f} CPUs busy: the other system had less"
    advice = "find what it computes in the background, or compare in whole runs (turns = false in the profile)"
    return (Finding("busy-while-idle", "service", message, cpus, _IDLE_CPUS, advice),)


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
    """Raise DoesNotFit if another system as large as the largest that is up would not fit into memory."""
    taken = max(_memory_of(service) for service in services.values())
    free = psutil.virtual_memory().available
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
