"""What the plugin keeps for one pytest session: settings, the harness, and what was measured so far."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_inferbench.plugin.live_line import Display
from pytest_inferbench.plugin.settings import Settings, load_settings

if TYPE_CHECKING:
    from pytest_inferbench.events import Event
    from pytest_inferbench.harness.capacity import Capacity
    from pytest_inferbench.harness.harness import Harness, History
    from pytest_inferbench.harness.systems import Sides
    from pytest_inferbench.judgement.measurement import Measurement
    from pytest_inferbench.judgement.slo import SLO
    from pytest_inferbench.judgement.verdict import Verdict
    from pytest_inferbench.storage.resume_cache import Kept

__all__ = ["SESSION", "InferbenchSession"]

_OVERHEAD_KEY = "inferbench/overhead_seconds"
_OVERHEAD_GUESS = 10.0


class InferbenchSession:
    """The mutable state of one session, one per process; it lives in ``config.stash``."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.test = ""
        self._node = ""
        self.collected: frozenset[str] = frozenset()
        self._settings: Settings | None = None
        self._harness: Harness | None = None
        self._pending: list[tuple[Measurement, dict[str, Any]]] = []
        self._capacities: list[dict[str, Any]] = []
        self._failing: list[Verdict] = []
        self._sides: Sides | None = None
        self._history: History | None = None
        self._kept: Kept | None = None
        self._firsts: dict[tuple[str, str], Measurement] = {}
        self._display = Display(config)
        self._run_started = (0.0, 0.0)

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
        self.test = _name(item, self.settings.selected) if "inference_service" in _fixtures(item) else item.nodeid
        self._node = item.nodeid
        # What an earlier attempt of a rerun attached; the runs of all attempts are in the last one's.
        item.user_properties[:] = [pair for pair in item.user_properties if not pair[0].startswith("inferbench.")]
        if self._history is not None:
            self._history.begin(item.nodeid)

    def note_collected(self, items: list[pytest.Item]) -> None:
        """Note which tests there are; raises pytest.UsageError for a mistake in the configuration."""
        whole_files = not any("::" in argument for argument in self.config.args)
        names = {_name(item, self.settings.selected) for item in items}
        self.collected = frozenset(names) if whole_files else frozenset()

    def take_records(self) -> list[dict[str, Any]]:
        """Return the records of the measurements since the last call."""
        records = [record for _, record in self._pending]
        self._pending.clear()
        return records

    def take_capacities(self) -> list[dict[str, Any]]:
        """Return the records of the capacities since the last call."""
        records, self._capacities = self._capacities, []
        return records

    def take_failing(self) -> list[Verdict]:
        """Return the verdicts since the last call that do not let their test pass."""
        failing, self._failing = self._failing, []
        return failing

    def overhead(self, profile: str) -> float:
        """Return the seconds that a run under ``profile`` takes beyond its workload, as seen before or guessed."""
        known = self._cache.get(_OVERHEAD_KEY, {}) if self._cache else {}
        return float(known.get(profile, _OVERHEAD_GUESS))

    @property
    def _cache(self) -> pytest.Cache | None:
        return getattr(self.config, "cache", None)  # absent under -p no:cacheprovider

    def clear_display(self) -> None:
        """Remove the live line, if one is shown."""
        self._display.clear()

    def complete(self) -> None:
        """Note that there is nothing to resume: every test has had its turn."""
        if self._kept is not None:
            self._kept.forget()

    def close(self) -> None:
        """Remove the logs of this session."""
        self.clear_display()
        if self._sides is not None:
            self._sides.close()

    def _make_harness(self) -> Harness:
        from pytest_inferbench.harness.harness import Harness, History
        from pytest_inferbench.harness.systems import Sides
        from pytest_inferbench.judgement.measurement import Policy
        from pytest_inferbench.machine.lock import MachineLock
        from pytest_inferbench.machine.probe import describe_environment
        from pytest_inferbench.storage.baselines import BaselineStore
        from pytest_inferbench.storage.resume_cache import Kept, state_of_files

        settings = self.settings
        self._sides = Sides(
            settings.project,
            settings.root,
            against=settings.against,
            selfcheck=settings.selfcheck,
            url=settings.url,
            config=settings.config,
            timeout=settings.boot_timeout,
        )
        environment = describe_environment(settings.root)
        state = state_of_files(settings.root, without=settings.storage)
        folder = None if self._cache is None else self._cache.mkdir("inferbench")
        self._kept = Kept(folder, repr((environment, state)), resuming=settings.resume)
        self._history = History()
        self._history.begin(self._node)
        return Harness(
            side=self._sides.side,
            other=self._sides.other,
            against=settings.against,
            store=BaselineStore(settings.storage),
            environment=environment,
            kept=self._kept,
            policy=Policy(
                alpha=settings.alpha,
                strict=settings.strict,
                missing_fails=settings.missing_fails,
                updating=settings.update_baselines,
            ),
            seed=settings.seed,
            repeats=settings.repeats,
            most_repeats=settings.most_repeats,
            budget=settings.budget,
            drain_timeout=settings.drain_timeout,
            generators=settings.generators,
            lock=MachineLock(),
            history=self._history,
            test=lambda: self.test,
            observe=self._observe,
            on_measured=self._on_measured,
            on_verdict=self._on_verdict,
            on_impacts=self._on_impacts,
            on_capacity=self._on_capacity,
        )

    def _observe(self, event: Event) -> None:
        from pytest_inferbench.events import Booting, Drained, Issuing

        match event:
            case Booting():
                self._run_started = (time.monotonic(), 0.0)
            case Issuing(total=total):
                self._run_started = (self._run_started[0], total)
            case Drained(profile=profile):
                began, duration = self._run_started
                if duration > 0:  # a closed loop has no length of its own, that could be taken off
                    self._remember_overhead(profile, time.monotonic() - began - duration)
        self._display.show(event)

    def _remember_overhead(self, profile: str, seconds: float) -> None:
        if self._cache and not hasattr(self.config, "workerinput"):
            known = self._cache.get(_OVERHEAD_KEY, {})
            self._cache.set(_OVERHEAD_KEY, {**known, profile: round(seconds, 1)})

    def _on_measured(self, test: str, measurement: Measurement) -> None:
        from pytest_inferbench.report.record import measurement_record

        self._display.clear()
        first = self._first_profile(test, measurement)
        record = measurement_record(test, measurement, raw=self.settings.raw, beside=first)
        self._pending.append((measurement, record))

    def _first_profile(self, test: str, measurement: Measurement) -> Measurement | None:
        """Return what the test measured under the first profile, where there are several and no other reference."""
        settings = self.settings
        if settings.against or settings.selfcheck or len(settings.selected) < 2:
            return None
        first = self._firsts.setdefault((test, measurement.workload.name), measurement)
        return None if first.profile == measurement.profile else first

    def _on_capacity(self, test: str, capacity: Capacity) -> None:
        from pytest_inferbench.report.record import capacity_record

        self._display.clear()
        self._capacities.append(capacity_record(test, capacity))

    def _on_verdict(self, measurement: Measurement, verdict: Verdict) -> None:
        from pytest_inferbench.report.record import verdict_record

        for known, record in self._pending:
            if known is measurement:
                record["verdicts"].append(verdict_record(verdict))
        if not verdict.passed:
            self._failing.append(verdict)

    def _on_impacts(self, measurement: Measurement, slo: SLO) -> None:
        from pytest_inferbench.report.record import note_impacts

        for known, record in self._pending:
            if known is measurement:
                note_impacts(record, measurement, slo)


SESSION: pytest.StashKey[InferbenchSession] = pytest.StashKey()


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
