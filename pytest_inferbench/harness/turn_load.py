"""Loads several running services one after the other, for seconds at a time, and looks at the machine in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import numpy as np

from pytest_inferbench.deployment import Deployment
from pytest_inferbench.events import Booting, Observer, TurnBegan
from pytest_inferbench.harness.trial import Load
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
from pytest_inferbench.workload.arrivals import Schedule
from pytest_inferbench.workload.turns import TurnPlan, plan_turns

__all__ = ["Loaded", "load_in_turns"]


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
