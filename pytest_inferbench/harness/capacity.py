"""Capacity: the highest rate of Poisson arrivals at which a service still meets an SLO ("throughput under SLO")."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from pytest_inferbench.config.warmup_plan import WarmUpPlan
from pytest_inferbench.errors import CapacityError, ConfigurationError
from pytest_inferbench.events import Booting, Observer, Probed
from pytest_inferbench.harness.trial import LoadOptions, Procedure, System
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.loadgen import LoadGenerator, Target
from pytest_inferbench.loadgen.payloads import serialize
from pytest_inferbench.runs.run import Failure, Run
from pytest_inferbench.stats.paired import mean_of_values
from pytest_inferbench.stats.quantiles import quantile
from pytest_inferbench.stats.trend import saturation
from pytest_inferbench.workload.arrivals import Poisson
from pytest_inferbench.workload.seeds import stream
from pytest_inferbench.workload.workload import PayloadSource, Workload, draw_payloads

__all__ = ["Capacity", "CapacitySearch", "Probe", "holds"]

_CONCURRENCY = 16
_CLOSED_REQUESTS = 96
_LEAST_REQUESTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One open-loop run of the search: at ``rate`` per second, in which boot, and whether the SLO held."""

    boot: int
    rate: float
    held: bool
    p95: float
    error_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The highest rate (per second) at which the SLO held: the geometric mean over ``boots`` of what each sustained.

    ``interval``: over boots, Student's t at 1 - 2 alpha, no narrower than the last step of the search in each; for a
    single boot that step alone (the highest rate that held, the lowest that did not).
    """

    profile: str
    slo: SLO
    rate: float
    interval: tuple[float, float]
    boots: tuple[float, ...]
    probes: tuple[Probe, ...]

    def __repr__(self) -> str:
        low, high = self.interval
        count = f"{len(self.boots)} boot{'s' if len(self.boots) > 1 else ''}, {len(self.probes)} runs"
        return f"Capacity({self.rate:.1f}/s ({low:.1f} to {high:.1f}) under {self.slo!r}, {self.profile}, {count})"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacitySearch:
    """Finds the capacity of one service.

    ``duration`` (seconds) is the length of one run; ``precision`` the relative width at which a search ends (0.05:
    the lowest rate that failed is at most 5 % above the highest that held). ``budget`` (seconds): no further run
    that would end later, once the first boot has an answer. ``load_options``: how the load is issued. ``warmup``: what
    is sent to each boot before. ``procedure``: how that is done, and how a run is examined.

    Each probe of each boot has its own arrivals and payloads, all derived from ``seed``: how much their luck moves the
    answer is in the interval, which is taken over the boots.
    """

    target: Target
    payloads: PayloadSource
    seed: int
    observe: Observer
    duration: float = 8.0
    precision: float = 0.05
    load_options: LoadOptions = field(default_factory=LoadOptions)
    budget: float | None = None
    alpha: float = 0.05
    warmup: WarmUpPlan = field(default_factory=WarmUpPlan)
    procedure: Procedure = field(default_factory=Procedure)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if not 0 < self.precision < 1:
            raise ConfigurationError(f"capacity: precision must lie between 0 and 1, got {self.precision!r}")
        if not self.duration > 0:
            raise ConfigurationError(f"capacity: duration must be greater than zero, got {self.duration!r}")

    @property
    def identity(self) -> tuple[object, ...]:
        """What two searches must share to have the same answer, besides the service and the SLO; no secret is in it."""
        bodies = serialize(draw_payloads(self.payloads, _CLOSED_REQUESTS, self.seed))
        issued = (self.target.digest, bodies.digest(self.target.method), self.load_options)
        return (*issued, self.seed, self.duration, self.precision, self.budget, self.alpha, self.warmup)

    async def find(self, system: System, slo: SLO, *, boots: int) -> Capacity:
        """Search in ``boots`` boots, each from where the one before ended.

        Raises CapacityError if the SLO does not even hold at a tenth of the rate that the service sustains with
        16 requests in flight, if it answers none of those well, or if the load generator could not keep a rate that
        the service could.
        """
        if boots < 1:
            raise ConfigurationError(f"capacity: boots must be at least 1, got {boots}")
        started = self.clock()
        probes: list[Probe] = []
        brackets: list[tuple[float, float]] = []
        guess: float | None = None
        for number in range(1, boots + 1):
            elapsed = self.clock() - started
            if brackets and self.budget is not None and elapsed * (1 + 1 / len(brackets)) > self.budget:
                break
            self.observe(Booting(workload="capacity", profile=system.name, number=number, total=boots))
            service = system.deploy()
            try:
                await asyncio.to_thread(service.boot)
                endpoint = self.target.at(service.url)
                bodies = draw_payloads(self.payloads, _CLOSED_REQUESTS, self.seed)
                await self.procedure.warm_up(LoadGenerator(endpoint), bodies, service, self.observe, self.warmup)
                if guess is None:
                    guess = _guess(await LoadGenerator(endpoint).issue_closed(bodies, concurrency=_CONCURRENCY))
                low, high = await self._bisect(endpoint, slo, guess, number, probes)
            finally:
                service.stop()
            brackets.append((low, high))
            guess = math.sqrt(low * high)
        return self._conclude(system.name, slo, brackets, probes)

    async def _bisect(
        self, endpoint: Target, slo: SLO, guess: float, boot: int, probes: list[Probe]
    ) -> tuple[float, float]:
        """Return the highest rate that held and the lowest that did not, no further apart than the precision."""
        low, high = 0.0, math.inf
        least, rate, step = guess / 10, guess, 1.25
        while high / max(low, 1e-9) > 1 + self.precision:
            probe = await self._probe(endpoint, slo, rate, boot, len(probes))
            probes.append(probe)
            if probe.held:
                low = max(low, rate)
            else:
                high = min(high, rate)
            if low and math.isfinite(high):
                rate = math.sqrt(low * high)
            elif low:
                rate *= step
            elif rate > least:
                rate = max(rate / step, least)
            else:
                raise CapacityError(
                    f"the capacity under {slo!r} cannot be found: it does not hold even at {rate:.2g} requests/s (p95 "
                    f"{1e3 * probe.p95:.0f} ms, {probe.error_rate:.1%} failed); choose one that an idle service meets"
                )
            step *= 1.25
        return low, high

    async def _probe(self, endpoint: Target, slo: SLO, rate: float, boot: int, number: int) -> Probe:
        # A percentile needs requests: a slow service is watched for longer.
        duration = max(self.duration, _LEAST_REQUESTS / rate)
        seed = self._seed(boot, number)
        schedule = Workload("capacity", Poisson(rate), duration).schedule(seed)
        bodies = draw_payloads(self.payloads, len(schedule), seed)
        run = await self.load_options.generator(endpoint, self.observe).issue(schedule, bodies)
        spoilt = [finding for finding in self.procedure.examine(run) if finding.kind == "invalid"]
        held = holds(run, slo)
        if spoilt and held:
            raise CapacityError(
                f"the capacity cannot be found: at {rate:.1f} requests/s the measurement failed, not the service "
                f"({spoilt[0].rule}: {spoilt[0].message}); {spoilt[0].recommendation}"
            )
        p95 = quantile(run.latencies, 0.95)
        found = Probe(boot=boot, rate=rate, held=held, p95=p95, error_rate=run.error_rate)
        self.observe(Probed(rate=rate, held=held, p95=found.p95, error_rate=found.error_rate))
        return found

    def _seed(self, boot: int, number: int) -> int:
        """Return the seed of probe ``number`` (of the whole search), which is in ``boot``."""
        return int(stream(self.seed, f"capacity, boot {boot}, probe {number}").integers(2**63))

    def _conclude(self, profile: str, slo: SLO, brackets: list[tuple[float, float]], probes: list[Probe]) -> Capacity:
        rates = tuple(low for low, _ in brackets)
        low, high = (math.exp(np.log(ends).mean()) for ends in zip(*brackets, strict=True))
        rate = low
        if len(rates) > 1:
            below, above = (math.exp(end) for end in mean_of_values(np.log(rates)).interval(self.alpha))
            low, high = min(low, below), max(high, above)
        return Capacity(
            profile=profile, slo=replace(slo), rate=rate, interval=(low, high), boots=rates, probes=tuple(probes)
        )


def _guess(run: Run) -> float:
    """Return the rate of good answers in a closed loop. Raises CapacityError if there were none."""
    rate = run.throughput
    if 0 < rate < math.inf:
        return rate
    counts = {kind: run.count(kind) for kind in Failure if kind is not Failure.NONE}
    causes = ", ".join(f"{count} x {kind.name.lower()}" for kind, count in counts.items() if count)
    raise CapacityError(
        f"the capacity cannot be found: with {_CONCURRENCY} requests in flight none of {len(run)} had a good answer "
        f"({causes}); see the service's log, or how many requests it takes at once"
    )


def holds(run: Run, slo: SLO) -> bool:
    """Return whether one run meets every objective by its point estimates, and its latency does not keep rising."""
    latencies = run.latencies
    for metric, limit in slo.limits.items():
        if metric == "error_rate":
            value, good = run.error_rate, run.error_rate <= limit
        elif metric == "throughput":
            value, good = run.throughput, run.throughput >= limit
        else:
            value = quantile(latencies, float(metric[1:]) / 100)
            good = value <= limit
        if not good:
            return False
    return not saturation(latencies).rising
