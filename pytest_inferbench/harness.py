"""The one way a measurement is made: deploy, warm up, issue, drain, end; again for each run; then hand over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pytest_inferbench.baselines import Baseline, BaselineStore
from pytest_inferbench.deployment import Deployment
from pytest_inferbench.deployment.lock import MachineLock
from pytest_inferbench.errors import BaselineError, ConfigurationError
from pytest_inferbench.events import Booting, Drained, Issuing, Observer, Ready, Waiting
from pytest_inferbench.fingerprint import Environment
from pytest_inferbench.loadgen import LoadGenerator, Progress, Target
from pytest_inferbench.measurement import Measurement, Policy, Reference
from pytest_inferbench.profile import Profile, did_you_mean
from pytest_inferbench.run import Run
from pytest_inferbench.stats.quantiles import quantile
from pytest_inferbench.validity import Finding, examine
from pytest_inferbench.verdict import Verdict
from pytest_inferbench.warmup import warm_up
from pytest_inferbench.workload import PayloadSource, Workload, draw_payloads

__all__ = ["BoundWorkload", "Harness", "InferenceService"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness:
    """Everything a measurement needs, given once per session.

    ``deploy`` makes an unbooted deployment of a profile. ``test`` names the running test. ``budget`` (seconds, per
    measurement) ends the repeats early. ``observe`` hears what happens, ``on_measured`` (with the name of the
    test) and ``on_verdict`` what came out.
    """

    profiles: Mapping[str, Profile]
    deploy: Callable[[Profile], Deployment]
    against: str | None
    store: BaselineStore
    environment: Environment
    policy: Policy
    seed: int
    repeats: int
    budget: float | None
    drain_timeout: float
    lock: MachineLock
    test: Callable[[], str]
    observe: Observer
    on_measured: Callable[[str, Measurement], None]
    on_verdict: Callable[[Measurement, Verdict], None]

    async def measure(
        self, workload: Workload, profile: str, *, target: Target, payloads: PayloadSource, repeats: int | None = None
    ) -> Measurement:
        """Measure ``workload`` under ``profile``, and under the reference profile in between if there is one.

        Each run has its own boot and its own seed; both sides of a pair share the seed, hence the schedule and
        the payloads. The order alternates (ABBA), so that a drift of the machine falls on both sides.
        """
        repeats = self.repeats if repeats is None else repeats
        if repeats < 1:
            raise ConfigurationError(f"repeats must be at least 1, got {repeats}")
        test = self.test()
        # The reference profile itself is measured alone when it is one of several under test.
        sides = [profile] if self.against in (None, profile) else [str(self.against), profile]
        runs: dict[str, list[Run]] = {side: [] for side in sides}
        findings: list[Finding] = []
        # Read before anything is booted: a damaged file must not cost the time of a benchmark.
        stored = self._stored(test, workload, profile) if self.against is None else None
        await self._acquire()
        started = time.monotonic()
        try:
            for repeat in range(repeats):
                if self._spent(started, repeat):
                    break
                seed = self.seed + repeat
                for side in sides if repeat % 2 == 0 else reversed(sides):
                    number = sum(map(len, runs.values())) + 1
                    step = Booting(workload=workload.name, profile=side, number=number, total=repeats * len(sides))
                    self.observe(step)
                    run, found = await self._run(workload, self.profiles[side], seed, step, target, payloads)
                    runs[side].append(run)
                    findings.extend(replace(f, message=f"run {number} ({side}): {f.message}") for f in found)
        finally:
            self.lock.release()
        return self._finish(test, workload, profile, runs, findings, stored or self._other_side(profile, runs))

    @contextmanager
    def running(self, profile: str) -> Iterator[str]:
        """Boot the service outside of any measurement, yield its base URL, and end it."""
        waited = False
        while not self.lock.try_acquire():
            if not waited:
                self.observe(Waiting(holder=self.lock.holder()))
            waited = True
            time.sleep(0.2)
        service = self.deploy(self.profiles[profile])
        try:
            service.boot()
            yield service.url
        finally:
            service.stop()
            self.lock.release()

    async def _acquire(self) -> None:
        waited = False
        while not self.lock.try_acquire():
            if not waited:
                self.observe(Waiting(holder=self.lock.holder()))
            waited = True
            await asyncio.sleep(0.2)

    def _spent(self, started: float, repeat: int) -> bool:
        """Return True if one more repeat, as long as those before, would overrun the budget."""
        if self.budget is None or repeat == 0:
            return False
        elapsed = time.monotonic() - started
        return elapsed + elapsed / repeat > self.budget

    async def _run(
        self,
        workload: Workload,
        profile: Profile,
        seed: int,
        step: Booting,
        target: Target,
        payloads: PayloadSource,
    ) -> tuple[Run, tuple[Finding, ...]]:
        schedule = workload.schedule(seed)
        bodies = draw_payloads(payloads, len(schedule), seed)
        service = self.deploy(profile)

        def report(progress: Progress) -> None:
            self.observe(
                Issuing(
                    elapsed=progress.elapsed,
                    total=progress.total,
                    scheduled=progress.scheduled,
                    issued=progress.issued,
                    completed=progress.completed,
                    failed=progress.failed,
                )
            )

        try:
            await asyncio.to_thread(service.boot)
            self.observe(Ready(seconds=service.boot_seconds))
            endpoint = target.at(service.url)
            generator = LoadGenerator(endpoint, drain_timeout=self.drain_timeout, on_progress=report)
            findings = await warm_up(LoadGenerator(endpoint), bodies, service, self.observe)
            run = await generator.issue(schedule, bodies)
            findings += examine(run)
            if not service.alive:
                findings += (_died(service),)
        finally:
            service.stop()
        latencies = run.latencies
        self.observe(
            Drained(
                workload=workload.name,
                profile=profile.name,
                number=step.number,
                total=step.total,
                requests=len(run),
                failed=int(run.failed.sum()),
                p50=quantile(latencies, 0.5),
                p95=quantile(latencies, 0.95),
            )
        )
        return run, findings

    def _finish(
        self,
        test: str,
        workload: Workload,
        profile: str,
        runs: Mapping[str, Sequence[Run]],
        findings: Sequence[Finding],
        compared: tuple[Reference | None, str],
    ) -> Measurement:
        reference, why_not = compared
        measurement = Measurement(
            workload=workload,
            profile=profile,
            runs=tuple(runs[profile]),
            environment=self.environment,
            findings=tuple(findings),
            reference=reference,
            no_reference=why_not,
            policy=self.policy,
            on_verdict=self.on_verdict,
        )
        # Before recording: a baseline that cannot be written must not cost the figures.
        self.on_measured(test, measurement)
        if self.policy.updating and measurement.valid:
            for side, recorded in runs.items():
                baseline = Baseline(
                    workload=workload.identity,
                    environment=self.environment.to_dict(),
                    recorded=datetime.now(UTC).isoformat(timespec="seconds"),
                    runs=tuple(recorded),
                )
                self.store.update(baseline, profile=side, machine=self.environment.machine, test=test)
        return measurement

    def _other_side(self, profile: str, runs: Mapping[str, Sequence[Run]]) -> tuple[Reference | None, str]:
        """Return the reference that this session measured too, or why there is none."""
        if self.against is None or self.against == profile:
            return None, f"profile {profile} is the reference of this session (--against)"
        return Reference(label=f"profile {self.against}", runs=tuple(runs[self.against])), ""

    def _stored(self, test: str, workload: Workload, profile: str) -> tuple[Reference | None, str]:
        """Return the stored baseline, or why there is none. Raises BaselineError for a file that cannot be used."""
        machine = self.environment.machine
        record = "record one with --update-baselines, or compare within the session with --against"
        try:
            stored = self.store.load(profile=profile, machine=machine, test=test).get(workload.name)
        except BaselineError:
            if self.policy.updating:
                return None, "the stored baseline is damaged and is being replaced"
            raise
        if stored is None:
            others = [name for name in self.store.machines(profile=profile, test=test) if name != machine]
            elsewhere = f" (there is one for {', '.join(others)}: another machine)" if others else ""
            return None, f"no baseline of {test} under profile {profile} on {machine}{elsewhere}; {record}"
        if stored.workload != workload.identity:
            return None, f"the stored baseline is of another workload ({dict(stored.workload)}); {record}"
        return (
            Reference(
                label=f"baseline {stored.recorded[:10]}",
                runs=stored.runs,
                stored=True,
                differences=self.environment.differences(stored.environment),
            ),
            "",
        )


@dataclass(frozen=True, slots=True)
class InferenceService:
    """The handle that a test gets: the service under one profile, booted on demand."""

    harness: Harness = field(repr=False)
    profile: str

    def running(self) -> AbstractContextManager[str]:
        """Boot it outside of a measurement: ``with inference_service.running() as url: ...``."""
        return self.harness.running(self.profile)

    def under(self, profile: str) -> InferenceService:
        """Return the handle for the same service under another profile."""
        if profile not in self.harness.profiles:
            raise ConfigurationError(f"unknown profile {profile!r}{did_you_mean(profile, self.harness.profiles)}")
        return InferenceService(self.harness, profile)


@dataclass(frozen=True, slots=True)
class BoundWorkload:
    """A workload with the target and the payloads it is issued to and with."""

    workload: Workload
    target: Target
    payloads: PayloadSource

    async def measure(self, service: InferenceService, *, repeats: int | None = None) -> Measurement:
        """Boot, warm up, issue and drain ``repeats`` times (default: the session's), and return what was seen."""
        return await service.harness.measure(
            self.workload, service.profile, target=self.target, payloads=self.payloads, repeats=repeats
        )


def _died(service: Deployment) -> Finding:
    return Finding(
        rule="died",
        kind="service",
        message="the service's process ended during the run; the end of its log: "
        + " | ".join(service.log_tail().splitlines()[-3:]),
        value=0.0,
        limit=1.0,
        recommendation="what it died of stands in its log",
    )
