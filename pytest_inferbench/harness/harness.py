"""The one way a measurement is made: trials of both sides in turns until the plan is done, then hand over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from pytest_inferbench.disruption import DisruptionEvent
from pytest_inferbench.errors import BaselineError, NewerBaselineError, ValidationError
from pytest_inferbench.events import Booting, Observer, Waiting
from pytest_inferbench.harness.capacity import Capacity, CapacitySearch
from pytest_inferbench.harness.trial import ITSELF, Load, Side, Trial, require_possible, run_trial
from pytest_inferbench.judgement.cost_curve import fitted
from pytest_inferbench.judgement.measurement import Measurement, Policy, Reference
from pytest_inferbench.judgement.selfcheck import SelfCheck, self_check
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.judgement.stopping import Plan, Stop
from pytest_inferbench.judgement.verdict import Verdict
from pytest_inferbench.machine.lock import MachineLock
from pytest_inferbench.runs.environment import Environment
from pytest_inferbench.runs.run import Run
from pytest_inferbench.storage.baselines import Baseline, BaselineStore
from pytest_inferbench.storage.resume_cache import Kept
from pytest_inferbench.workload.seeds import stream
from pytest_inferbench.workload.workload import Workload

__all__ = ["Harness", "History"]

Pair = dict[str, Trial]


@dataclass(slots=True)
class History:
    """The pairs of every measurement of this session, so that the rerun of a test adds to them.

    Running a failed test again until it passes would be rolling the dice again: the second attempt is judged by
    its own runs and those of the first. Since only a failure is run again, this makes false alarms rarer, not more.
    """

    _pairs: dict[tuple[str, int], list[Pair]] = field(default_factory=dict)
    _test: str = ""
    _position: int = 0

    def begin(self, test: str) -> None:
        """Note that ``test`` starts, perhaps not for the first time."""
        self._test, self._position = test, 0

    @property
    def next(self) -> tuple[str, int]:
        """What tells the next measurement from all others: the test, and how many came before it there."""
        return self._test, self._position

    def pairs(self) -> list[Pair]:
        """Return the list to add to: of earlier attempts, what the examiner did not spoil."""
        key = (self._test, self._position)
        self._position += 1
        earlier = [pair for pair in self._pairs.get(key, ()) if all(trial.valid for trial in pair.values())]
        return self._pairs.setdefault(key, []) if not earlier else self._replace(key, earlier)

    def _replace(self, key: tuple[str, int], pairs: list[Pair]) -> list[Pair]:
        self._pairs[key] = pairs
        return pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness:
    """Everything a measurement needs, given once per session.

    ``side`` makes the side under test from the name of a profile, ``other`` the one it is interleaved with (None: it
    is measured alone, and held against its stored baseline, or against nothing if it is ``against`` itself).
    ``test`` names the running test. ``kept`` remembers what is measured for a session that resumes this one.
    ``budget`` (seconds, per measurement): where there is a reference, look in between, and go on only while
    undecided and within it, at most ``most_repeats`` times (None: until the last planned look). ``generators``: how
    many processes issue a load, or the address of a Dask scheduler. ``observe`` hears what happens, ``on_measured``
    and ``on_capacity`` (with the name of the test) and ``on_verdict`` what came out, ``on_impacts`` which latencies
    count as recovered after a disruption.
    """

    side: Callable[[str], Side]
    other: Callable[[str], Side | None]
    against: str | None
    store: BaselineStore
    environment: Environment
    policy: Policy
    seed: int
    repeats: int
    most_repeats: int | None
    budget: float | None
    drain_timeout: float
    lock: MachineLock
    history: History
    test: Callable[[], str]
    observe: Observer
    on_measured: Callable[[str, Measurement], None]
    on_verdict: Callable[[Measurement, Verdict], None]
    on_impacts: Callable[[Measurement, SLO], None]
    on_capacity: Callable[[str, Capacity], None]
    generators: int | str = 1
    kept: Kept = field(default_factory=lambda: Kept(None))
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
        """Measure ``load`` under ``profile``, and the other side in between if there is one.

        Each run has its own boot and its own seed; both sides of a pair share the seed, hence the schedule and
        the payloads. The order alternates (ABBA), so that a drift of the machine falls on both sides.
        """
        test = self.test()
        candidate, other = self.side(profile), self.other(profile)
        require_possible(load, candidate, other)
        # Read before anything is booted: a damaged file must not cost the time of a benchmark.
        alone = other is None and self.against is None
        stored, why_not = self._stored(test, load.workload, profile) if alone and not load.disruptions else (None, "")
        plan = Plan.of(
            repeats=self.repeats if repeats is None else repeats,
            sequential=self.budget is not None and (other is not None or stored is not None) and not load.disruptions,
            most=self.most_repeats if repeats is None else repeats,
            available=None if stored is None else len(stored.runs),
            metrics=metrics,
            margin=margin,
            alpha=self.policy.alpha,
        )
        name = _name(self.history.next, load, candidate, other, self.seed)
        pairs = self.history.pairs()
        resumed = 0
        if rerun := len(pairs):
            plan = replace(plan, looks=(rerun + plan.looks[-1 if len(plan.looks) == 1 else 0],))
        else:
            kept = self.kept.load(*name) or []
            pairs += [pair for pair in kept if all(trial.valid for trial in pair.values())][: plan.most]
            resumed = len(pairs)
        keep = partial(self.kept.store, pairs, *name)
        await self._acquire()
        try:
            stop = await self._trials(plan, pairs, load, candidate, other, stored, keep)
        finally:
            self.lock.release()
        if rerun:
            stop = replace(stop, reason=f"a rerun: {rerun} of these {len(pairs)} runs are those of earlier attempts")
        elif resumed:
            note = f"resumed: {resumed} of these {len(pairs)} runs are those of the interrupted session"
            stop = replace(stop, reason="; ".join(filter(None, (stop.reason, note))))
        if other is not None:
            runs = tuple(pair["reference"].run for pair in pairs)
            stored = Reference(label=_label(other), runs=runs, events=_events(load, pairs, "reference"))
        elif self.against is not None:
            why_not = f"profile {profile} is the reference of this session (--against)"
        elif load.disruptions:
            why_not = "runs that are disrupted on purpose are no baseline; hold them against another side (--against)"
        return self._finish(test, load, candidate, other, pairs, stop, stored, why_not)

    async def capacity(self, search: CapacitySearch, profile: str, slo: SLO, *, boots: int | None) -> Capacity:
        """Search for the capacity of ``profile`` while nobody else loads the machine, once per session."""
        side = self.side(profile)
        boots = self.repeats if boots is None else boots
        name = ("capacity", profile, side.profile, slo, search.seed, search.duration, search.precision, boots)
        if known := self._capacities.get(repr(name)):
            return known
        found: Capacity | None = self.kept.load(*name)
        if found is None:
            await self._acquire()
            try:
                found = await search.find(side, slo, boots=boots)
            finally:
                self.lock.release()
            self.kept.store(found, *name)
        self._capacities[repr(name)] = found
        self.on_capacity(self.test(), found)
        return found

    @contextmanager
    def running(self, profile: str) -> Iterator[str]:
        """Boot the service outside of any measurement, yield its base URL, and end it."""
        for _ in self._turns():
            time.sleep(0.2)
        try:
            service = self.side(profile).deploy()
            try:
                service.boot()
                yield service.url
            finally:
                service.stop()
        finally:
            self.lock.release()

    async def _acquire(self) -> None:
        for _ in self._turns():
            await asyncio.sleep(0.2)

    def _turns(self) -> Iterator[None]:
        """Yield as long as another session holds the machine, and say so once."""
        waited = False
        while not self.lock.try_acquire():
            if not waited:
                self.observe(Waiting(holder=self.lock.holder()))
            waited = True
            yield

    async def _trials(
        self,
        plan: Plan,
        pairs: list[Pair],
        load: Load,
        candidate: Side,
        other: Side | None,
        stored: Reference | None,
        keep: Callable[[], None],
    ) -> Stop:
        """Run pairs until the plan ends, adding to ``pairs``; ``keep`` is called after each."""
        sides = {"candidate": candidate} if other is None else {"reference": other, "candidate": candidate}
        started, before = time.monotonic(), len(pairs)
        while True:
            if pairs:
                elapsed, fresh = time.monotonic() - started, len(pairs) - before
                spent = self.budget is not None and fresh > 0 and elapsed + elapsed / fresh > self.budget
                reference: Sequence[Run] = () if stored is None else stored.runs
                if other is not None:
                    reference = [pair["reference"].run for pair in pairs]
                stop = plan.stop(
                    reference, [pair["candidate"].run for pair in pairs], spent=spent, stored=other is None
                )
                if stop is not None:
                    return stop
            seed = self.seed + len(pairs)
            pair: Pair = {}
            for role in sides if len(pairs) % 2 == 0 else reversed(sides):
                side = sides[role]
                number = len(pairs) * len(sides) + len(pair) + 1
                step = Booting(
                    workload=load.workload.name, profile=side.name, number=number, total=plan.most * len(sides)
                )
                trial = await run_trial(load, side, seed, step, self.observe)
                named = (replace(f, message=f"run {number} ({side.name}): {f.message}") for f in trial.findings)
                pair[role] = replace(trial, findings=tuple(named))
            pairs.append(pair)
            keep()

    def _finish(
        self,
        test: str,
        load: Load,
        candidate: Side,
        other: Side | None,
        pairs: Sequence[Pair],
        stop: Stop,
        reference: Reference | None,
        why_not: str,
    ) -> Measurement:
        measured = reference.runs if other is not None and reference is not None else ()
        runs = tuple(pair["candidate"].run for pair in pairs)
        checked = None
        if other is not None and other.name == ITSELF:
            rng = stream(self.seed, "selfcheck")
            checked = self_check(measured, runs, repeats=self.repeats, alpha=self.policy.alpha, rng=rng)
        moved = None if reference is None else reference.machine_drift(runs, alpha=self.policy.alpha)
        measurement = Measurement(
            workload=load.workload,
            profile=candidate.name,
            runs=runs,
            events=_events(load, pairs, "candidate"),
            environment=self.environment,
            findings=(
                *(finding for pair in pairs for trial in pair.values() for finding in trial.findings),
                *(() if moved is None else moved.findings),
            ),
            reference=reference,
            no_reference=why_not,
            policy=self.policy,
            stop=stop,
            selfcheck=checked,
            on_verdict=self.on_verdict,
            on_impacts=self.on_impacts,
        )
        # Before recording: a baseline that cannot be written must not cost the figures.
        self.on_measured(test, measurement)
        if self.policy.updating and measurement.valid and not load.disruptions:
            recorded = {candidate.name: measurement.runs}
            if other is not None and other.name == other.profile.name:
                recorded[other.name] = measured
            for name, runs in recorded.items():
                baseline = Baseline(
                    workload=load.workload.identity,
                    environment=self.environment.to_dict(),
                    recorded=datetime.now(UTC).isoformat(timespec="seconds"),
                    runs=runs,
                    selfcheck=None if checked is None else checked.to_dict(),
                    curve=fitted(runs, alpha=self.policy.alpha),
                )
                self.store.update(baseline, profile=name, machine=self.environment.machine, test=test)
        return measurement

    def _stored(self, test: str, workload: Workload, profile: str) -> tuple[Reference | None, str]:
        """Return the stored baseline, or why there is none. Raises BaselineError for a file that cannot be used."""
        machine = self.environment.machine
        record = "record one with --update-baselines, or compare within the session with --against"
        try:
            stored = self.store.load(profile=profile, machine=machine, test=test).get(workload.name)
        except BaselineError as error:
            # That of a newer version is neither read nor replaced: said now, not after the measurement.
            if self.policy.updating and not isinstance(error, NewerBaselineError):
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
                runs=_of_this_numpy(stored, self.environment),
                stored=True,
                selfcheck=_read_self_check(stored.selfcheck),
                differences=self.environment.differences(stored.environment),
            ),
            "",
        )


def _of_this_numpy(stored: Baseline, environment: Environment) -> tuple[Run, ...]:
    """Return the runs of a baseline, without the machine's pace where another numpy took it."""
    packages = stored.environment.get("packages")
    if isinstance(packages, Mapping) and packages.get("numpy") == environment.packages.get("numpy"):
        return stored.runs
    return tuple(replace(run, pace_ns=None) for run in stored.runs)


def _read_self_check(table: Mapping[str, object] | None) -> SelfCheck | None:
    if table is None:
        return None
    try:
        return SelfCheck.from_dict(table)
    except ValidationError:
        return None  # a note of the machine's noise that cannot be read must not cost the comparison


def _name(place: tuple[str, int], load: Load, candidate: Side, other: Side | None, seed: int) -> tuple[object, ...]:
    """Return all that two runs must share to be of one measurement, besides the files of the project."""
    issued = (load.workload.identity, load.target, load.drain_timeout, load.generators, load.disruptions)
    sides = [(side.name, side.profile) for side in (candidate, other) if side is not None]
    return (place, issued, sides, seed)


def _events(load: Load, pairs: Sequence[Pair], role: str) -> tuple[tuple[DisruptionEvent, ...], ...]:
    return tuple(pair[role].events for pair in pairs) if load.disruptions else ()


def _label(side: Side) -> str:
    return f"profile {side.name}" if side.name == side.profile.name else side.name
