"""One trial: one boot of the service and one run of a workload against it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.config.profile import Profile
from pytest_inferbench.config.warmup_plan import WarmUpPlan
from pytest_inferbench.deployment import Deployment, Watched
from pytest_inferbench.deployment.disruptor import Disruptor, objection
from pytest_inferbench.disruption import Disruption, DisruptionEvent, SlowNetwork, describe_disruption
from pytest_inferbench.errors import ConfigurationError, LoadError
from pytest_inferbench.events import Booting, BootProgress, Drained, Observer, Progress, Ready
from pytest_inferbench.harness.warmup import warm_up
from pytest_inferbench.judgement.validity import Finding, examine
from pytest_inferbench.loadgen import LoadGenerator, Target
from pytest_inferbench.machine.resource_meter import measured_resources
from pytest_inferbench.machine.speed import run_reference_computation
from pytest_inferbench.runs.run import Run
from pytest_inferbench.stats.quantiles import smooth_quantile
from pytest_inferbench.workload.arrivals import ArrivalProcess, ClosedLoop, Schedule
from pytest_inferbench.workload.workload import PayloadSource, Workload, draw_payloads

__all__ = [
    "ITSELF",
    "Load",
    "LoadOptions",
    "Procedure",
    "System",
    "Trial",
    "boot_progress",
    "drained",
    "draw_requests",
    "examine_run",
    "find_death",
    "lost_load",
    "require_possible",
    "run_trial",
]

#: What the reference is called where a service is measured against itself.
ITSELF = "itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A system under test: its name, its profile, and how one more boot of it is made.

    ``name`` is that of the profile, or of a revision ("git:main"), or `ITSELF`.
    """

    name: str
    profile: Profile
    deploy: Callable[[], Deployment]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How a load is issued: ``drain_timeout``, the seconds that answers are waited for after the last request,
    ``generators``, the number of processes that issue it or the address of a Dask scheduler, and ``turn``, the seconds
    for which one of two systems is loaded before the other is, None for whole runs."""

    drain_timeout: float = 10.0
    generators: int | str = 1
    turn: float | None = 1.5

    def generator(self, target: Target, report: Callable[[Progress], None] | None = None) -> LoadGenerator:
        """Return the load generator for ``target``; ``report`` hears of its progress."""
        return LoadGenerator(target, drain_timeout=self.drain_timeout, generators=self.generators, on_progress=report)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What both systems are given: a workload, where it goes and with what, and how it is issued.

    ``disruptions``: what is done to the service meanwhile, in order of their instants. ``size`` counts the tokens of
    a payload. ``warmup``: what is sent before.
    """

    workload: Workload
    target: Target
    payloads: PayloadSource
    options: LoadOptions = field(default_factory=LoadOptions)
    disruptions: tuple[Disruption, ...] = ()
    size: Callable[[Any], int] | None = None
    warmup: WarmUpPlan = field(default_factory=WarmUpPlan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """What surrounds the load in each trial: how the service is warmed up, how the run is examined, and how the
    machine's speed is measured (nanoseconds of a reference computation). A test may put others in their place."""

    warm_up: Callable[
        [LoadGenerator, Sequence[object], Deployment, Observer, WarmUpPlan], Coroutine[Any, Any, tuple[Finding, ...]]
    ] = warm_up
    examine: Callable[[Run], tuple[Finding, ...]] = examine
    measure_speed: Callable[[], int] = run_reference_computation


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one trial; ``events``: the disruptions as they came about.

    ``disturbers``: of a trial in turns, the processes of neither system by name, with the CPU seconds they used.
    ``boot_seconds``, ``load_seconds``: what its pair took up to the first turn, and from there on.
    """

    run: Run
    findings: tuple[Finding, ...]
    events: tuple[DisruptionEvent, ...] = ()
    disturbers: tuple[tuple[str, float], ...] = ()
    boot_seconds: float = 0.0
    load_seconds: float = 0.0

    @property
    def valid(self) -> bool:
        """False if the measurement failed, not the service."""
        return not any(finding.kind == "invalid" for finding in self.findings)


def require_possible(load: Load, *systems: System | None) -> None:
    """Raise ConfigurationError for a disruption that one of ``systems`` cannot undergo. Boots nothing."""
    for system in systems:
        if system is None or not load.disruptions:
            continue
        service = system.deploy()
        for disruption in load.disruptions:
            if isinstance(disruption, SlowNetwork) and isinstance(load.options.generators, str):
                raise ConfigurationError(
                    "SlowNetwork: load generators on other machines do not pass a proxy on this one"
                )
            if problem := objection(service, disruption, load.target):
                raise ConfigurationError(f"profile {system.name!r}: {problem}")


async def run_trial(
    load: Load, system: System, seed: int, step: Booting, observe: Observer, procedure: Procedure | None = None
) -> Trial:
    """Boot, warm up, issue (and disrupt meanwhile), drain, and end the service, whatever happens.

    The schedule and the payloads depend on ``seed`` alone: both systems of a pair get the same.
    """
    steps = procedure or Procedure()
    schedule, bodies, sizes = draw_requests(load, seed)
    observe(step)
    service = system.deploy()
    here = service.pid is not None
    speeds = [steps.measure_speed()] if here else []
    try:
        await asyncio.to_thread(service.boot, boot_progress(observe))
        observe(Ready(seconds=service.boot_seconds))
        disruptor = Disruptor(load.disruptions, service)
        root = (lambda: service.pid or 0) if here else None
        async with disruptor.in_path(load.target.at(service.url)) as endpoint:
            findings = await steps.warm_up(LoadGenerator(endpoint), bodies, service, observe, load.warmup)
            generator = load.options.generator(endpoint, disruptor.listen(observe))
            watch = await asyncio.to_thread(service.watch) if isinstance(service, Watched) else None
            try:
                # In this order: what is undone or waited for on leaving `armed` is none of the generator's usage.
                async with disruptor.armed():
                    with measured_resources(root) as meter:
                        run = await _issue(generator, load.workload.process, schedule, bodies)
                findings += examine_run(run, service, steps) + _undone(disruptor.events())
            except LoadError as error:
                # The load generator failed: the measurement is void, and says why; the other runs' figures remain.
                run = Run.unissued(schedule.offsets_ns, seed=schedule.seed, digest=schedule.digest)
                findings += (lost_load(error),)
        resources = meter.resources
        if watch is not None and resources is not None:
            pods, cluster_events = await asyncio.to_thread(watch.end)
            resources = replace(resources, pods=pods, events=cluster_events)
        run = replace(run, resources=resources, sizes=sizes)
        findings += find_death(service)
    finally:
        service.stop()
    if here:
        speeds.append(steps.measure_speed())
        run = replace(run, calibration_ns=sum(speeds) // len(speeds))
    observe(drained(step, run))
    return Trial(run, findings, disruptor.events())


def draw_requests(load: Load, seed: int) -> tuple[Schedule, list[object], NDArray[np.int64] | None]:
    """Return what one seed issues: the schedule, the payloads, and the size of each if it is counted."""
    schedule = load.workload.schedule(seed)
    bodies = draw_payloads(load.payloads, len(schedule), seed, load.workload.sizes(len(schedule)))
    return schedule, bodies, None if load.size is None else _count_sizes(load.size, bodies)


def examine_run(run: Run, service: Deployment, steps: Procedure) -> tuple[Finding, ...]:
    """Return what is wrong with ``run``, with the end of the service's log where it may say why."""
    return tuple(_with_log(finding, service) for finding in steps.examine(run))


def find_death(service: Deployment) -> tuple[Finding, ...]:
    """Return the finding that the service has died; none if it lives."""
    return () if service.alive else (_died(service),)


def drained(step: Booting, run: Run) -> Drained:
    """Return the event that ``run`` is over."""
    return Drained(
        workload=step.workload,
        profile=step.profile,
        number=step.number,
        total=step.total,
        requests=len(run),
        failed=int(run.failed.sum()),
        p50=smooth_quantile(run.latencies, 0.5),
        p95=smooth_quantile(run.latencies, 0.95),
    )


def _count_sizes(size: Callable[[Any], int], bodies: Sequence[object]) -> NDArray[np.int64]:
    sizes = [size(body) for body in bodies]
    for number in sizes:
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 0:
            raise ConfigurationError(f"measure(size=...) must return a whole number of tokens, got {number!r}")
    return np.array(sizes, np.int64)


async def _issue(
    generator: LoadGenerator, process: ArrivalProcess, schedule: Schedule, bodies: Sequence[object]
) -> Run:
    if isinstance(process, ClosedLoop):
        return await generator.issue_closed(bodies, concurrency=process.concurrency, seed=schedule.seed)
    return await generator.issue(schedule, bodies)


def boot_progress(observe: Observer) -> Callable[[float, str], None]:
    """Return what a boot reports its progress to."""
    return lambda seconds, line: observe(BootProgress(seconds=seconds, line=line))


def lost_load(error: LoadError) -> Finding:
    """Return the finding that the load generator failed."""
    return Finding(
        rule="load-generator",
        kind="invalid",
        message=str(error),
        value=0.0,
        limit=1.0,
        recommendation="run it again; if it happens again, look for what ends processes on that machine (memory?)",
    )


def _undone(events: tuple[DisruptionEvent, ...]) -> tuple[Finding, ...]:
    missing = [event for event in events if event.began_ns is None]
    return tuple(
        Finding(
            rule="disruption",
            kind="invalid",
            message=f"{describe_disruption(event.disruption)} did not come about: {event.detail}",
            value=0.0,
            limit=1.0,
            recommendation="a run that was not disturbed as planned says nothing about resilience",
        )
        for event in missing
    )


def _with_log(finding: Finding, service: Deployment) -> Finding:
    """Return a finding that no good answer came with the end of the service's log, which is gone after the session."""
    if finding.rule != "died":
        return finding
    return replace(finding, message=f"{finding.message}; the end of its log: {_last_lines(service)}")


def _last_lines(service: Deployment) -> str:
    return " | ".join(service.log_tail().splitlines()[-3:])


def _died(service: Deployment) -> Finding:
    return Finding(
        rule="died",
        kind="service",
        message=f"the service's process ended during the run; the end of its log: {_last_lines(service)}",
        value=0.0,
        limit=1.0,
        recommendation="what it died of stands in its log",
    )
