"""The one way a measurement is made: trials of both systems in turns until the plan is done, then hand over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from pytest_inferbench.events import Booting, Waiting
from pytest_inferbench.harness.capacity import Capacity, CapacitySearch
from pytest_inferbench.harness.history import History, Pair, PairLog
from pytest_inferbench.harness.opponent import Opponent, find_opponent
from pytest_inferbench.harness.results import CapacityFound, Measured, Observer, Recorded
from pytest_inferbench.harness.resuming import load_capacity, load_pairs, resume_name, store_capacity, store_pairs
from pytest_inferbench.harness.stored_reference import record_baseline
from pytest_inferbench.harness.systems import Systems
from pytest_inferbench.harness.trial import (
    ITSELF,
    Load,
    LoadOptions,
    Procedure,
    System,
    Trial,
    require_possible,
    run_trial,
)
from pytest_inferbench.harness.turns import (
    Alternation,
    DoesNotFit,
    describe_alternation,
    run_pair_in_turns,
    why_whole_runs,
)
from pytest_inferbench.judgement.measurement import Measurement, Policy, Reference
from pytest_inferbench.judgement.selfcheck import self_check
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.judgement.stopping import Plan, Stop
from pytest_inferbench.machine.lock import MachineLock
from pytest_inferbench.runs.environment import Environment
from pytest_inferbench.runs.run import Run
from pytest_inferbench.storage.baselines import BaselineStore
from pytest_inferbench.storage.resume_cache import ResumeCache
from pytest_inferbench.workload.seeds import stream

__all__ = ["Harness", "Sampling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How many runs a measurement takes, and of which seeds.

    ``budget`` (seconds, per measurement): where there is a reference, look in between, and go on only while undecided
    and within it, at most ``most_repeats`` times (None: until the last planned look).
    """

    seed: int = 1
    repeats: int = 5
    most_repeats: int | None = None
    budget: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness:
    """Makes the measurements of one session; everything that happens is an event for ``observe``.

    ``systems`` knows what is measured and against what, ``sampling`` how often, ``load_options`` how a load is issued,
    ``procedure`` what surrounds it in each trial. ``history`` has the running test and what it measured before;
    ``resume_cache`` keeps what is measured for a session that resumes this one.
    """

    systems: Systems
    store: BaselineStore
    environment: Environment
    policy: Policy
    sampling: Sampling
    observe: Observer
    lock: MachineLock
    history: History
    load_options: LoadOptions = field(default_factory=LoadOptions)
    procedure: Procedure = field(default_factory=Procedure)
    resume_cache: ResumeCache = field(default_factory=lambda: ResumeCache(None))
    _capacities: dict[str, Capacity] = field(default_factory=dict, init=False)

    async def measure(
        self,
        load: Load,
        profile: str,
        *,
        repeats: int | None = None,
        metrics: Sequence[str] = ("p50", "p95"),
        margin: float = 0.05,
    ) -> Measurement:
        """Measure ``load`` under ``profile``, and the reference in between if it is one of this session.

        Each run has its own boot and its own seed; both systems of a pair share the seed, hence the schedule and
        the payloads. Where both can be up they are loaded in turns; else the order alternates (ABBA), so
        that a drift of the machine falls on both.
        """
        test = self.history.test
        candidate = self.systems.under_test(profile)
        # Read before anything is booted: a damaged file must not cost the time of a benchmark.
        opponent = find_opponent(
            self.systems, self.store, self.environment, self.policy, test=test, load=load, profile=profile
        )
        other = opponent.system
        require_possible(load, candidate, other)
        sampling = self.sampling
        plan = Plan.of(
            repeats=sampling.repeats if repeats is None else repeats,
            sequential=sampling.budget is not None and opponent.exists and not load.disruptions,
            most=sampling.most_repeats if repeats is None else repeats,
            available=len(opponent.stored.runs) if opponent.stored is not None and other is None else None,
            metrics=metrics,
            margin=margin,
            alpha=self.policy.alpha,
        )
        place, log = self.history.next()
        name = _name(place, load, candidate, other, sampling.seed)
        resumed = 0
        if rerun := log.begin_attempt():
            plan = replace(plan, looks=(rerun + plan.looks[-1 if len(plan.looks) == 1 else 0],))
        else:
            kept = load_pairs(self.resume_cache, name, disruptions=load.disruptions, paired=other is not None)
            log.adopt([pair for pair in kept if pair.valid][: plan.most])
            resumed = len(log.pairs)
        keep = partial(store_pairs, self.resume_cache, log.pairs, name)
        alternation = Alternation(self._why_whole_runs(load, candidate, other))
        await self._acquire()
        try:
            began, before = time.monotonic(), len(log.pairs)
            stop = await self._trials(plan, log, load, candidate, opponent, keep, alternation)
            fresh = len(log.pairs) - before
            seconds = (time.monotonic() - began) / fresh if fresh else None
        finally:
            self.lock.release()
        pairs = tuple(log.pairs)
        if rerun:
            stop = replace(stop, reason=f"a rerun: {rerun} of these {len(pairs)} runs are those of earlier attempts")
        elif resumed:
            note = f"resumed: {resumed} of these {len(pairs)} runs are those of the interrupted session"
            stop = replace(stop, reason="; ".join(filter(None, (stop.reason, note))))
        if other is not None:
            opponent = replace(opponent, notes=(*opponent.notes, *describe_alternation(alternation, pairs)))
        return self._finish(test, load, candidate, opponent, pairs, stop, seconds)

    async def capacity(self, search: CapacitySearch, profile: str, slo: SLO, *, boots: int | None) -> Capacity:
        """Search for the capacity of ``profile`` while nobody else loads the machine, once per session."""
        system = self.systems.under_test(profile)
        boots = self.sampling.repeats if boots is None else boots
        name = resume_name("capacity", profile, system.profile, slo, search.identity, boots)
        if known := self._capacities.get(name):
            return known
        found = load_capacity(self.resume_cache, name, profile=system.name, slo=slo)
        if found is None:
            await self._acquire()
            try:
                found = await search.find(system, slo, boots=boots)
            finally:
                self.lock.release()
            store_capacity(self.resume_cache, found, name)
        self._capacities[name] = found
        self.observe(CapacityFound(test=self.history.test, capacity=found))
        return found

    @contextmanager
    def running(self, profile: str) -> Iterator[str]:
        """Boot the service outside of any measurement, yield its base URL, and end it."""
        for _ in self._waits():
            time.sleep(0.2)
        try:
            service = self.systems.under_test(profile).deploy()
            try:
                service.boot()
                yield service.url
            finally:
                service.stop()
        finally:
            self.lock.release()

    async def _acquire(self) -> None:
        for _ in self._waits():
            await asyncio.sleep(0.2)

    def _waits(self) -> Iterator[None]:
        """Yield as long as another session holds the machine, and report it once."""
        waited = False
        while not self.lock.try_acquire():
            if not waited:
                self.observe(Waiting(holder=self.lock.holder()))
            waited = True
            yield

    async def _trials(
        self,
        plan: Plan,
        log: PairLog,
        load: Load,
        candidate: System,
        opponent: Opponent,
        keep: Callable[[], None],
        alternation: Alternation,
    ) -> Stop:
        """Run pairs until the plan ends, adding to ``log``; ``keep`` is called after each."""
        other, stored = opponent.system, opponent.stored
        systems = {"candidate": candidate} if other is None else {"reference": other, "candidate": candidate}
        seeds = self._stored_seeds(stored)
        pairs, started, before = log.pairs, time.monotonic(), len(log.pairs)
        while True:
            if pairs:
                elapsed, fresh = time.monotonic() - started, len(pairs) - before
                budget = self.sampling.budget
                if len(plan.looks) > 1 and len(pairs) in plan.looks:
                    alternation.lengthen(load, pairs, plan.metrics)
                expected = max(elapsed / fresh if fresh else 0.0, alternation.next_seconds(pairs))
                spent = budget is not None and fresh > 0 and elapsed + expected > budget
                reference: Sequence[Run] = () if stored is None else stored.runs
                if other is not None:
                    reference = [pair.reference.run for pair in pairs if pair.reference is not None]
                runs = [pair.candidate.run for pair in pairs]
                stop = plan.stop(reference, runs, spent=spent, stored=other is None)
                if stop is not None:
                    return stop
            seed = log.next_seed(self.sampling.seed, seeds)
            ordered = systems if len(pairs) % 2 == 0 else dict(reversed(systems.items()))
            steps = {
                role: Booting(
                    workload=load.workload.name,
                    profile=system.name,
                    number=len(pairs) * len(systems) + place,
                    total=plan.most * len(systems),
                )
                for place, (role, system) in enumerate(ordered.items(), start=1)
            }
            trials = await self._pair(alternation.next_load(load), ordered, seed, steps, alternation)
            log.add(Pair(seed=seed, **{role: _named(trial, steps[role]) for role, trial in trials.items()}))
            keep()

    def _why_whole_runs(self, load: Load, candidate: System, other: System | None) -> str:
        if other is None:
            return "there is one system"
        if self.policy.updating:
            return "a baseline is being recorded, which is of whole runs"
        return why_whole_runs(load, candidate, other)

    def _stored_seeds(self, stored: Reference | None) -> tuple[int, ...]:
        """Return the seeds that a stored baseline has runs of, if this session's are among them."""
        if stored is None or self.policy.updating:
            return ()
        seeds = tuple(run.seed for run in stored.runs)
        return seeds if self.sampling.seed in seeds else ()

    async def _pair(
        self,
        load: Load,
        systems: Mapping[str, System],
        seed: int,
        steps: Mapping[str, Booting],
        alternation: Alternation,
    ) -> dict[str, Trial]:
        """Measure one pair: in turns where both systems can be up, or else one whole run after the other."""
        if alternation.in_turns:
            try:
                return await run_pair_in_turns(load, systems, seed, steps, self.observe, self.procedure)
            except DoesNotFit as reason:
                alternation.whole_runs = str(reason)
        return {
            role: await run_trial(load, system, seed, steps[role], self.observe, self.procedure)
            for role, system in systems.items()
        }

    def _finish(
        self,
        test: str,
        load: Load,
        candidate: System,
        opponent: Opponent,
        pairs: Sequence[Pair],
        stop: Stop,
        seconds: float | None,
    ) -> Measurement:
        other, reference = opponent.system, opponent.reference(pairs)
        measured = reference.runs if other is not None and reference is not None else ()
        runs = tuple(pair.candidate.run for pair in pairs)
        checked = None
        if other is not None and other.name == ITSELF:
            rng = stream(self.sampling.seed, "selfcheck")
            checked = self_check(
                measured, runs, repeats=self.sampling.repeats, alpha=self.policy.alpha, rng=rng, seconds=seconds
            )
        moved = None if reference is None else reference.machine_drift(runs, alpha=self.policy.alpha)
        measurement = Measurement(
            workload=load.workload,
            profile=candidate.name,
            runs=runs,
            events=tuple(pair.candidate.events for pair in pairs) if load.disruptions else (),
            environment=self.environment,
            findings=(
                *(finding for pair in pairs for trial in pair.trials for finding in trial.findings),
                *(() if moved is None else moved.findings),
            ),
            reference=reference,
            no_reference=opponent.missing,
            policy=self.policy,
            stop=stop,
            selfcheck=checked,
            notes=opponent.notes,
            recorded=opponent.stored if other is not None else None,
        )
        # Before recording: a baseline that cannot be written must not cost the figures.
        self.observe(Measured(test=test, measurement=measurement))
        if self.policy.updating and measurement.valid and not load.disruptions:
            stored = {candidate.name: measurement.runs}
            if other is not None and other.name == other.profile.name:
                stored[other.name] = measured
            for name, each in stored.items():
                record_baseline(
                    self.store,
                    self.environment,
                    each,
                    test=test,
                    workload=load.workload,
                    profile=name,
                    selfcheck=checked,
                    alpha=self.policy.alpha,
                )
                self.observe(Recorded(test=test, profile=name))
        return measurement


def _name(place: tuple[str, int], load: Load, candidate: System, other: System | None, seed: int) -> str:
    """Return the name of all that two runs must share to be of one measurement, besides the files of the project."""
    issued = (load.workload.identity, load.target, load.options, load.disruptions, load.warmup)
    systems = [(system.name, system.profile) for system in (candidate, other) if system is not None]
    return resume_name(place, issued, systems, seed)


def _named(trial: Trial, step: Booting) -> Trial:
    """Return ``trial`` with findings that say which run they are about."""
    named = (replace(f, message=f"run {step.number} ({step.profile}): {f.message}") for f in trial.findings)
    return replace(trial, findings=tuple(named))
