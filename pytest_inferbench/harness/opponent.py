"""What a measurement is compared with: another system of this session, a stored baseline, or the revision it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_inferbench.errors import ConfigurationError
from pytest_inferbench.harness.history import Pair
from pytest_inferbench.harness.stored_reference import read_reference
from pytest_inferbench.harness.systems import Systems
from pytest_inferbench.harness.trial import Load, System
from pytest_inferbench.judgement.measurement import Policy, Reference
from pytest_inferbench.runs.environment import Environment
from pytest_inferbench.storage.baselines import BaselineStore

__all__ = ["Opponent", "find_opponent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opponent:
    """What a candidate is compared with: a ``system`` of this session, a ``stored`` baseline, or neither.

    Both, where the system is the revision that the baseline was recorded of. ``missing``: why there is neither.
    ``notes``: how it was measured beside the candidate.
    """

    system: System | None = None
    stored: Reference | None = None
    missing: str = ""
    notes: tuple[str, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether there is anything to compare with."""
        return self.system is not None or self.stored is not None

    def reference(self, pairs: Sequence[Pair]) -> Reference | None:
        """Return the reference of a measurement that made these ``pairs``."""
        if self.system is None:
            return self.stored
        trials = [pair.reference for pair in pairs if pair.reference is not None]
        label = _label(self.system)
        if self.stored is not None:
            label += f", of which {self.stored.label} is"
        disrupted = any(trial.events for trial in trials)
        events = tuple(trial.events for trial in trials) if disrupted else ()
        return Reference(label=label, runs=tuple(trial.run for trial in trials), events=events)


def find_opponent(
    systems: Systems,
    store: BaselineStore,
    environment: Environment,
    policy: Policy,
    *,
    test: str,
    load: Load,
    profile: str,
) -> Opponent:
    """Return what ``profile`` is to be compared with under ``load`` in ``test``.

    Raises BaselineError for a baseline that cannot be used, ConfigurationError for a revision that is not there.
    """
    if (system := systems.reference(profile)) is not None:
        return Opponent(system=system)
    if systems.is_reference(profile):
        return Opponent(missing=f"profile {profile} is the reference of this session (--against)")
    if load.disruptions:
        return Opponent(
            missing="runs that are disrupted on purpose are no baseline; compare them with another profile or "
            "revision in the same session (--against)"
        )
    stored, missing = read_reference(store, environment, policy, test=test, workload=load.workload, profile=profile)
    if stored is None or not systems.controlled:
        return Opponent(stored=stored, missing=missing)
    try:
        return Opponent(system=systems.control(profile, stored.revision), stored=stored)
    except ConfigurationError as error:
        return Opponent(stored=stored, notes=(f"no live control: {error}",))


def _label(system: System) -> str:
    return f"profile {system.name}" if system.name == system.profile.name else system.name
