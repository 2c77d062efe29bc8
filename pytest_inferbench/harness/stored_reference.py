"""The stored baseline as a reference: read before anything is booted, recorded when a measurement is complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from pytest_inferbench.errors import BaselineError, NewerBaselineError, ValidationError
from pytest_inferbench.judgement.cost_curve import fitted
from pytest_inferbench.judgement.measurement import Policy, Reference
from pytest_inferbench.judgement.selfcheck import SelfCheck
from pytest_inferbench.runs.environment import Environment
from pytest_inferbench.runs.run import Run
from pytest_inferbench.storage.baselines import Baseline, BaselineStore
from pytest_inferbench.workload.workload import Workload

__all__ = ["read_reference", "record_baseline"]


def read_reference(
    store: BaselineStore, environment: Environment, policy: Policy, *, test: str, workload: Workload, profile: str
) -> tuple[Reference | None, str]:
    """Return the stored baseline, or why there is none. Raises BaselineError for a file that cannot be used."""
    machine = environment.machine
    record = "record one with --update-baselines, or compare within the session with --against"
    try:
        stored = store.load(profile=profile, machine=machine, test=test).get(workload.name)
    except BaselineError as error:
        # That of a newer version is neither read nor replaced: reported now, not after the measurement.
        if policy.updating and not isinstance(error, NewerBaselineError):
            return None, "the stored baseline is damaged and is being replaced"
        raise
    if stored is None:
        others = [name for name in store.machines(profile=profile, test=test) if name != machine]
        elsewhere = f" (there is one for {', '.join(others)}: another machine)" if others else ""
        if policy.updating:
            return None, f"there was no baseline of {test} under profile {profile} on {machine}; this becomes the first"
        return None, f"no baseline of {test} under profile {profile} on {machine}{elsewhere}; {record}"
    if stored.workload != workload.identity:
        return None, f"the stored baseline is of another workload ({dict(stored.workload)}); {record}"
    reference = Reference(
        label=f"baseline {stored.recorded[:10]}",
        runs=_of_this_numpy(stored, environment),
        stored=True,
        selfcheck=_read_self_check(stored.selfcheck),
        differences=environment.differences(stored.environment),
        revision=None if (revision := stored.environment.get("revision")) is None else str(revision),
    )
    return reference, ""


def record_baseline(
    store: BaselineStore,
    environment: Environment,
    runs: tuple[Run, ...],
    *,
    test: str,
    workload: Workload,
    profile: str,
    selfcheck: SelfCheck | None,
    alpha: float,
) -> None:
    """Write ``runs`` as the baseline of a test under a profile on this machine. Raises BaselineError."""
    baseline = Baseline(
        workload=workload.identity,
        environment=environment.to_dict(),
        recorded=datetime.now(UTC).isoformat(timespec="seconds"),
        runs=runs,
        selfcheck=None if selfcheck is None else selfcheck.to_dict(),
        curve=fitted(runs, alpha=alpha),
    )
    store.update(baseline, profile=profile, machine=environment.machine, test=test)


def _of_this_numpy(stored: Baseline, environment: Environment) -> tuple[Run, ...]:
    """Return the runs of a baseline, without the machine's speed where another numpy measured it."""
    packages = stored.environment.get("packages")
    if isinstance(packages, Mapping) and packages.get("numpy") == environment.packages.get("numpy"):
        return stored.runs
    return tuple(replace(run, calibration_ns=None) for run in stored.runs)


def _read_self_check(table: Mapping[str, object] | None) -> SelfCheck | None:
    if table is None:
        return None
    try:
        return SelfCheck.from_dict(table)
    except ValidationError:
        return None  # a note of the machine's noise that cannot be read must not cost the comparison
