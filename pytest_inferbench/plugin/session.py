"""What the plugin keeps for one pytest session: settings, the harness, and what was measured so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from pytest_inferbench.plugin.live_line import Display
from pytest_inferbench.plugin.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_inferbench.config.warmup_plan import WarmUpPlan
    from pytest_inferbench.events import Event
    from pytest_inferbench.harness.harness import Harness
    from pytest_inferbench.harness.history import History
    from pytest_inferbench.harness.results import CapacityFound, Measured, Recorded
    from pytest_inferbench.harness.systems import Systems
    from pytest_inferbench.harness.trial import Procedure
    from pytest_inferbench.judgement.measurement import Measurement
    from pytest_inferbench.judgement.verdict import Verdict
    from pytest_inferbench.storage.resume_cache import ResumeCache

__all__ = ["PROCEDURE", "SESSION", "InferbenchSession"]

_OVERHEAD_KEY = "inferbench/overhead_seconds"
_OVERHEAD_GUESS = 10.0
#: What ending a service takes, where it was not seen by itself.
_END_SECONDS = 1.0
_WARM_UP_KEY = "inferbench/warmup_seconds"
_WARM_UP_GUESS = 10.0


@dataclass(frozen=True, slots=True)
class Taken:
    """What a test measured, as plain records that cross processes, and what kept a record from being made.

    ``notes``: what the user should know, although nothing failed.
    """

    measurements: list[dict[str, Any]] = field(default_factory=list)
    capacities: list[dict[str, Any]] = field(default_factory=list)
    properties: list[tuple[str, object]] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    recorded: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class InferbenchSession:
    """The mutable state of one session, one per process; it lives in ``config.stash``."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self._test = ""
        self._node = ""
        self.collected: frozenset[str] = frozenset()
        self._settings: Settings | None = None
        self._harness: Harness | None = None
        self._complete: list[Measured | CapacityFound | Recorded] = []
        self._systems: Systems | None = None
        self._history: History | None = None
        self._resume_cache: ResumeCache | None = None
        self._firsts: dict[tuple[str, str], Measurement] = {}
        self._display = Display(config)
        self._run_started = (0.0, 0.0)
        self._before_turns: float | None = None
        self._warm_up = (0.0, 0.0)  # when it began, and how long it took

    @property
    def settings(self) -> Settings:
        """The validated options, read on first use."""
        if self._settings is None:
            self._settings = load_settings(self.config)
        return self._settings

    @property
    def harness(self) -> Harness:
        """The harness of this session, made on first use: only then is anything heavy imported."""
        if self._harness is None:
            self._harness = self._make_harness()
        return self._harness

    @property
    def in_use(self) -> bool:
        """True once any option or fixture of ours was used."""
        return self._settings is not None

    def begin(self, item: pytest.Item) -> None:
        """Note which test runs: its name without the profile is the name of its baseline."""
        self._test = _name(item, self.settings.selected) if "inference_service" in _fixtures(item) else item.nodeid
        self._node = item.nodeid
        # What an earlier attempt of a rerun attached; the runs of all attempts are in the last one's.
        item.user_properties[:] = [pair for pair in item.user_properties if not pair[0].startswith("inferbench.")]
        if self._history is not None:
            self._history.begin(self._test, item.nodeid)

    def note_collected(self, items: list[pytest.Item]) -> None:
        """Note which tests there are; raises pytest.UsageError for a mistake in the configuration."""
        whole_files = not any("::" in argument for argument in self.config.args)
        names = {_name(item, self.settings.selected) for item in items}
        self.collected = frozenset(names) if whole_files else frozenset()

    def take(self) -> Taken:
        """Return the records of what was measured since the last call: to be called when its test is over.

        A fault of a report is none of the test's: it is a line of ``trouble``.
        """
        complete, self._complete = self._complete, []
        taken = Taken()
        if self._resume_cache is not None and (problem := self._resume_cache.take_problem()):
            taken.notes.append(problem)
        if not complete:
            return taken
        from pytest_inferbench.harness.results import Measured, Recorded
        from pytest_inferbench.report.junit import properties
        from pytest_inferbench.report.record import capacity_record, measurement_record

        for event in complete:
            try:
                if isinstance(event, Measured):
                    beside = self._first_profile(event.test, event.measurement)
                    record = measurement_record(event.test, event.measurement, raw=self.settings.raw, beside=beside)
                    taken.measurements.append(record)
                elif isinstance(event, Recorded):
                    taken.recorded.append(f"{event.test} under {event.profile}")
                else:
                    taken.capacities.append(capacity_record(event.test, event.capacity))
            except Exception as error:  # noqa: BLE001  # whatever it is, it must not become the test's
                taken.trouble.append(f"the record of {event.test} could not be made: {type(error).__name__}: {error}")
        try:
            taken.properties.extend(properties(taken.measurements))
        except Exception as error:  # noqa: BLE001  # as above
            taken.trouble.append(f"the JUnit properties could not be made: {type(error).__name__}: {error}")
        return taken

    @property
    def failing(self) -> list[Verdict]:
        """The verdicts on what was measured since the last :meth:`take` which do not let their test pass."""
        found = (getattr(event, "measurement", None) for event in self._complete)
        verdicts = (verdict for measurement in found if measurement is not None for verdict in measurement.verdicts)
        return [verdict for verdict in verdicts if not verdict.passed]

    def overhead(self, profile: str) -> float:
        """Return the seconds that a run takes beyond its workload and warm-up, as seen before or guessed."""
        return self._recall(_OVERHEAD_KEY, profile, _OVERHEAD_GUESS)

    def warm_up_seconds(self, profile: str, plan: WarmUpPlan) -> float:
        """Return what warming up before a run takes, as seen before or guessed, and at most what ``plan`` allows."""
        return 0.0 if plan.off else min(plan.duration, self._recall(_WARM_UP_KEY, profile, _WARM_UP_GUESS))

    def _recall(self, key: str, profile: str, guess: float) -> float:
        known = self._cache.get(key, {}) if self._cache else {}
        return float(known.get(profile, guess))

    @property
    def _cache(self) -> pytest.Cache | None:
        return getattr(self.config, "cache", None)  # absent under -p no:cacheprovider

    def clear_display(self) -> None:
        """Remove the live line, if one is shown."""
        self._display.clear()

    def complete(self) -> None:
        """Note that there is nothing to resume: every test has had its turn."""
        if self._resume_cache is not None:
            self._resume_cache.forget()

    def close(self) -> None:
        """Remove the logs of this session."""
        self.clear_display()
        if self._systems is not None:
            self._systems.close()

    def _make_harness(self) -> Harness:
        from pytest_inferbench.harness.harness import Harness, Sampling
        from pytest_inferbench.harness.history import History
        from pytest_inferbench.harness.systems import Systems
        from pytest_inferbench.harness.trial import LoadOptions, Procedure
        from pytest_inferbench.judgement.measurement import Policy
        from pytest_inferbench.machine.lock import MachineLock
        from pytest_inferbench.machine.probe import describe_environment
        from pytest_inferbench.storage.baselines import BaselineStore
        from pytest_inferbench.storage.resume_cache import ResumeCache, state_of_files

        settings = self.settings
        self._systems = Systems(
            settings.project,
            settings.root,
            against=settings.against,
            selfcheck=settings.selfcheck,
            controlled=settings.control,
            url=settings.url,
            config=settings.config,
            timeout=settings.boot_timeout,
        )
        environment = describe_environment(settings.root)
        state = state_of_files(settings.root, without=settings.storage)
        self._resume_cache = ResumeCache(self._cache_folder(), repr((environment, state)), resuming=settings.resume)
        self._history = History()
        self._history.begin(self._test, self._node)
        return Harness(
            systems=self._systems,
            store=BaselineStore(settings.storage),
            environment=environment,
            policy=Policy(
                alpha=settings.alpha,
                strict=settings.strict,
                missing_fails=settings.missing_fails,
                updating=settings.update_baselines,
            ),
            sampling=Sampling(
                seed=settings.seed,
                repeats=settings.repeats,
                most_repeats=settings.most_repeats,
                budget=settings.budget,
            ),
            observe=self._observe,
            lock=MachineLock(),
            history=self._history,
            load_options=LoadOptions(
                drain_timeout=settings.drain_timeout, generators=settings.generators, turn=settings.turn
            ),
            procedure=self.config.stash.get(PROCEDURE, None) or Procedure(),
            resume_cache=self._resume_cache,
        )

    def _cache_folder(self) -> Path | None:
        """Return our folder in pytest's cache; None where there can be none, as on a file system that is read-only."""
        try:
            return None if self._cache is None else self._cache.mkdir("inferbench")
        except OSError:
            return None

    def _observe(self, event: Event | Measured | CapacityFound | Recorded) -> None:
        from pytest_inferbench.events import Booting, Drained, Progress, Ready, TurnBegan, WarmingUp
        from pytest_inferbench.harness.results import CapacityFound, Measured, Recorded

        match event:
            case Booting():
                self._run_started = (time.monotonic(), 0.0)
                self._before_turns = None
            case TurnBegan() if self._before_turns is None:
                # Of the two boots of a pair this is the later one; the other takes about as long.
                self._before_turns = time.monotonic() - self._run_started[0] - self._warm_up[1]
            case Ready():
                self._warm_up = (time.monotonic(), 0.0)
            case WarmingUp():
                began, _ = self._warm_up
                self._warm_up = (began, time.monotonic() - began)
            case Progress(total=total):
                self._run_started = (self._run_started[0], total)
            case Drained(profile=profile):
                began, duration = self._run_started
                _, warming = self._warm_up
                if warming > 0:
                    self._remember(_WARM_UP_KEY, profile, warming)
                if self._before_turns is not None:
                    self._remember(_OVERHEAD_KEY, profile, self._before_turns + _END_SECONDS)
                elif duration > 0:  # a closed loop has no length of its own, that could be taken off
                    self._remember(_OVERHEAD_KEY, profile, time.monotonic() - began - duration - warming)
        if isinstance(event, Measured | CapacityFound | Recorded):
            self._complete.append(event)
            self._display.clear()
        else:
            self._display.show(event)

    def _remember(self, key: str, profile: str, seconds: float) -> None:
        if self._cache and not hasattr(self.config, "workerinput"):
            self._cache.set(key, {**self._cache.get(key, {}), profile: round(seconds, 1)})

    def _first_profile(self, test: str, measurement: Measurement) -> Measurement | None:
        """Return what the test measured under the first profile, where there are several and no other reference."""
        settings = self.settings
        if settings.against or settings.selfcheck or len(settings.selected) < 2:
            return None
        first = self._firsts.setdefault((test, measurement.workload.name), measurement)
        return None if first.profile == measurement.profile else first


SESSION: pytest.StashKey[InferbenchSession] = pytest.StashKey()
#: What surrounds the load in each trial, where it is not to be that of users.
PROCEDURE: pytest.StashKey[Procedure] = pytest.StashKey()


def _fixtures(item: pytest.Item) -> list[str]:
    return list(getattr(item, "fixturenames", ()))


def _name(item: pytest.Item, profiles: tuple[str, ...]) -> str:
    """Return the test's node id without the profile, which is in it when several are tested."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or len(profiles) < 2:
        return item.nodeid
    profile = callspec.params.get("inference_service")
    rest = str(callspec.id)
    if rest == profile:
        rest = ""
    else:
        rest = rest.removeprefix(f"{profile}-") if rest.startswith(f"{profile}-") else rest.removesuffix(f"-{profile}")
    base = item.nodeid.removesuffix(f"[{callspec.id}]")
    return f"{base}[{rest}]" if rest else base
