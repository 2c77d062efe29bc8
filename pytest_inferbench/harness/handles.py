"""What fixtures hand to a test: the service under a profile, a workload to measure it with, a capacity search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from pytest_inferbench.config.warmup_plan import WarmUpPlan
from pytest_inferbench.disruption import Disruption, check_disruptions
from pytest_inferbench.harness.capacity import Capacity, CapacitySearch
from pytest_inferbench.harness.harness import Harness
from pytest_inferbench.harness.trial import Load
from pytest_inferbench.judgement.measurement import Measurement
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.loadgen import Target
from pytest_inferbench.units import parse_fraction, parse_seconds
from pytest_inferbench.workload.workload import PayloadSource, Workload

__all__ = ["BoundWorkload", "CapacityFinder", "InferenceService"]


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
        self.harness.systems.under_test(profile)  # raises ConfigurationError for one that is not known
        return InferenceService(self.harness, profile)


@dataclass(frozen=True, slots=True)
class BoundWorkload:
    """A workload with the target and the payloads it is issued to and with, and how the service is warmed up first."""

    workload: Workload
    target: Target
    payloads: PayloadSource
    warmup: WarmUpPlan = field(default_factory=WarmUpPlan)

    async def measure(
        self,
        service: InferenceService,
        *,
        repeats: int | None = None,
        disruptions: Sequence[Disruption] = (),
        size: Callable[[Any], int] | None = None,
        metrics: Sequence[str] = ("p50", "p95"),
        margin: float | str = "5%",
    ) -> Measurement:
        """Boot, warm up, issue and drain ``repeats`` times (default: the session's), and return what was seen.

        ``disruptions`` are carried out in every run, of both systems if there are two; such a measurement has as many
        repeats as planned, and is neither recorded as a baseline nor compared with one.

        ``size`` returns how many tokens (or whatever its cost grows with) a payload has: the measurement then has a
        cost curve, which is stored in the baseline.

        ``metrics`` and ``margin`` are what a session with a budget decides by whether more repeats are needed.
        """
        load = Load(
            workload=self.workload,
            target=self.target,
            payloads=self.payloads,
            options=service.harness.load_options,
            disruptions=check_disruptions(disruptions, duration=self.workload.duration),
            size=size,
            warmup=self.warmup,
        )
        tolerated = parse_fraction(margin, what="margin")
        return await service.harness.measure(load, service.profile, repeats=repeats, metrics=metrics, margin=tolerated)


@dataclass(frozen=True, slots=True)
class CapacityFinder:
    """Finds the highest rate at which the service meets an SLO, with the target and the payloads of the session."""

    target: Target
    payloads: PayloadSource
    warmup: WarmUpPlan = field(default_factory=WarmUpPlan)

    async def find(
        self,
        service: InferenceService,
        slo: SLO,
        *,
        boots: int | None = None,
        duration: float | str = "8s",
        precision: float | str = "5%",
    ) -> Capacity:
        """Search over open-loop runs of ``duration`` with Poisson arrivals, in each of ``boots`` boots.

        ``boots``: by default as many as a measurement has runs (``--inferbench-repeats``). The same search is made
        once in a session, whichever tests ask for it.

        A search ends when the highest rate that held and the lowest that did not are within ``precision`` of each
        other. Raises CapacityError where there is no such rate.
        """
        harness = service.harness
        search = CapacitySearch(
            target=self.target,
            payloads=self.payloads,
            seed=harness.sampling.seed,
            observe=harness.observe,
            duration=parse_seconds(duration, what="duration"),
            precision=parse_fraction(precision, what="precision"),
            load_options=harness.load_options,
            budget=harness.sampling.budget,
            alpha=harness.policy.alpha,
            warmup=self.warmup,
            procedure=harness.procedure,
        )
        return await harness.capacity(search, service.profile, slo, boots=boots)
