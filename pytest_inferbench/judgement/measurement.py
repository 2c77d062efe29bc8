"""A measurement: the runs of one workload under one profile, and the questions that a test asks of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pytest_inferbench.disruption import DisruptionEvent, describe_disruption
from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.attribution import Shift, attribute, explain
from pytest_inferbench.judgement.cost_curve import CostCurve, compare_costs, cost_curve, require_sizes
from pytest_inferbench.judgement.machine_drift import MachineDrift, discount, machine_drift
from pytest_inferbench.judgement.phrases import since_recorded
from pytest_inferbench.judgement.resilience import Impact, Resilience, check_resilience, impact_of
from pytest_inferbench.judgement.selfcheck import SelfCheck
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.judgement.stopping import Stop
from pytest_inferbench.judgement.validity import Finding
from pytest_inferbench.judgement.verdict import Comparison, Outcome, SloCheck, Verdict, compare, compare_family
from pytest_inferbench.runs.environment import Environment
from pytest_inferbench.runs.run import Run
from pytest_inferbench.units import parse_fraction
from pytest_inferbench.workload.workload import Workload

__all__ = ["Measurement", "Policy", "Reference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which outcomes fail a test beyond REGRESSED, MISSED and INVALID, and at which error rate it is judged.

    ``strict``: what could not be told fails too. ``missing_fails``: NO_BASELINE fails. ``updating``: baselines are
    being recorded, so that a difference to the old one is shown and accepted.
    """

    alpha: float = 0.05
    strict: bool = False
    missing_fails: bool = False
    updating: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The other side of a comparison. ``label`` says which; ``differences`` what else changed since.

    ``stored``: a recorded baseline, not a side of the same session; ``revision``: the commit that it was recorded of,
    with "-dirty" after it if there were changes. ``events``: as of a `Measurement`.
    """

    label: str
    runs: tuple[Run, ...]
    events: tuple[tuple[DisruptionEvent, ...], ...] = ()
    stored: bool = False
    selfcheck: SelfCheck | None = None
    differences: tuple[str, ...] = ()
    revision: str | None = None

    def machine_drift(self, runs: Sequence[Run], *, alpha: float) -> MachineDrift | None:
        """Return how the machine's speed moved from a stored baseline to ``runs``; None where that is not known.

        Runs that are measured in turns share whatever the machine does.
        """
        return machine_drift(self.runs, runs, alpha=alpha) if self.stored else None

    def impacts(self, slo: SLO) -> tuple[Impact, ...]:
        """Return what the disruptions cost each run of this side, as `Measurement.impacts` does."""
        return _impacts(self.runs, self.events, slo)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The runs of one workload under one profile, each from its own boot, with what they can be held against.

    ``findings`` are what is wrong with runs; ``reference`` is None where there is nothing to compare with, and
    ``no_reference`` then says why and what to do. ``stop``: why it ended when it did, and at which level
    comparisons are judged for it. ``selfcheck``: where the service was measured against itself, what that says.
    ``events``: per run, the disruptions as they came about; empty where nothing was disrupted on purpose. ``notes``:
    how it was measured beside the reference, in sentences: in turns or not and why, and what else used the machine.
    ``recorded``: the stored baseline, where ``reference`` is the revision that it was recorded of (its live control).
    """

    workload: Workload
    profile: str
    runs: tuple[Run, ...]
    environment: Environment
    findings: tuple[Finding, ...] = ()
    reference: Reference | None = None
    no_reference: str = ""
    policy: Policy = field(default_factory=Policy)
    stop: Stop | None = None
    selfcheck: SelfCheck | None = None
    events: tuple[tuple[DisruptionEvent, ...], ...] = ()
    notes: tuple[str, ...] = ()
    recorded: Reference | None = None
    _verdicts: list[Verdict] = field(default_factory=list, init=False, repr=False, compare=False)
    _recovered_by: list[SLO] = field(default_factory=list, init=False, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Measurement({self.workload.name!r}, profile={self.profile!r}, runs={len(self.runs)})"

    @property
    def valid(self) -> bool:
        """False if the measurement failed in any run, not the service: nothing is judged then."""
        return not any(finding.kind == "invalid" for finding in self.findings)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts that a test asked for so far, in order; not part of what makes two measurements equal."""
        return tuple(self._verdicts)

    @property
    def recovered_by(self) -> SLO | None:
        """The objectives by which a test last asked what its disruptions cost; None if it did not."""
        return self._recovered_by[-1] if self._recovered_by else None

    def meets(self, slo: SLO) -> Verdict:
        """Judge the runs against ``slo``. True unless a limit is MISSED or the measurement INVALID."""
        checks = slo.check(self.runs, alpha=self.policy.alpha) if self.valid else ()
        return self._verdict("slo", checks)

    def impacts(self, slo: SLO) -> tuple[Impact, ...]:
        """Return what the disruptions cost each run, by the latency objectives of ``slo``. Does not judge.

        Raises ValidationError where nothing was disrupted, or ``slo`` has no latency objective.
        """
        found = _impacts(self.runs, self.events, slo)
        self._recovered_by.append(slo)
        return found

    def survives(self, budget: Resilience, *, slo: SLO) -> Verdict:
        """Judge what the disruptions cost against ``budget``; ``slo`` says which latencies count as recovered.

        True unless a limit is MISSED or the measurement INVALID. Raises as :meth:`impacts` does.
        """
        if not self.events or self.valid:
            checks = check_resilience(self.impacts(slo), budget, alpha=self.policy.alpha)
        else:
            checks = ()
        return self._verdict("resilience", checks)

    def has_not_regressed(self, *, metrics: Sequence[str] = ("p50", "p95"), margin: float | str = "5%") -> Verdict:
        """Judge the runs against their reference; the metrics of one call are one family (Holm).

        ``margin`` is the slowdown that is tolerated: ``"5%"`` or 0.05. True unless one metric REGRESSED, the
        measurement is INVALID, or the policy says otherwise.
        """
        tolerated = parse_fraction(margin, what="margin")
        if not self.valid:
            return self._verdict("regression", ())
        if self.reference is None:
            return self._verdict("regression", (), missing=self.no_reference)
        checks = self.comparisons(metrics, margin=tolerated)
        machine = self.machine_since_recorded(metrics)
        told = tuple(
            since_recorded(here.metric, (here.ratio, *here.interval), (then.ratio, *then.interval))
            for here, then in zip(checks, machine, strict=bool(machine))
        )
        return self._verdict("regression", checks, told=told)

    def cost_curve(self, *, edges: Sequence[int] | None = None) -> CostCurve:
        """Return latency as a function of size; needs ``measure(service, size=...)``. ``edges`` cut sizes into classes.

        By default powers of two, as far as every class holds 12 requests of each run. Raises ValidationError where
        sizes are not known, or make no curve.
        """
        return cost_curve(self.runs, edges=edges, alpha=self.policy.alpha)

    def curve_has_not_regressed(self, *, margin: float | str = "10%", edges: Sequence[int] | None = None) -> Verdict:
        """Judge the cost curve against the reference's: the median latency of each class of sizes, and the slope.

        True unless one of them REGRESSED by more than ``margin`` (they are one family, Bonferroni), the measurement
        is INVALID, or the policy says otherwise. A reason names the slope, or the size at which a step begins. Raises
        as `cost_curve` does.
        """
        tolerated = parse_fraction(margin, what="margin")
        if not self.valid:
            return self._verdict("regression", (), about="cost curve of ")
        require_sizes(self.runs)  # forgotten, it is an error also where there is no reference yet
        missing = self.no_reference if self.reference is None else ""
        if self.reference is not None and any(run.sizes is None for run in self.reference.runs):
            missing = f"{self.reference.label} was recorded without sizes; record it again with --update-baselines"
        if missing or self.reference is None:
            return self._verdict("regression", (), missing=missing, about="cost curve of ")
        level = self.policy.alpha if self.stop is None else self.stop.level
        change = compare_costs(self.reference.runs, self.runs, edges=edges, margin=tolerated, alpha=level)
        told = (change.explanation,) if change.explanation else ()
        drift = self.reference.machine_drift(self.runs, alpha=level)
        checks = tuple(discount(check, drift, self.reference.runs) for check in change.checks)
        return self._verdict("regression", checks, about="cost curve of ", told=told)

    def comparisons(self, metrics: Sequence[str], *, margin: float = 0.05) -> tuple[Comparison, ...]:
        """Compare with the reference without judging; empty without one."""
        if self.reference is None or not self.valid:
            return ()
        return compare_family(
            self.reference.runs,
            self.runs,
            metrics=tuple(metrics),
            margin=margin,
            alpha=self.policy.alpha if self.stop is None else self.stop.level,
            stored=self.reference.stored,
        )

    def machine_since_recorded(self, metrics: Sequence[str]) -> tuple[Comparison, ...]:
        """Compare the recorded revision as it runs now with what was recorded of it: what the machine changed.

        Empty without a live control. It is not judged.
        """
        if self.recorded is None or self.reference is None or not self.valid:
            return ()
        return tuple(
            compare(self.recorded.runs, self.reference.runs, metric=metric, alpha=self.policy.alpha)
            for metric in metrics
        )

    def shifts(self) -> tuple[Shift, ...]:
        """Return how each part of the latency moved against the reference; empty where that is not known."""
        if self.reference is None or not self.valid:
            return ()
        return attribute(self.reference.runs, self.runs, alpha=self.policy.alpha)

    def _verdict(
        self,
        kind: Literal["slo", "regression", "resilience"],
        checks: tuple[Comparison, ...] | tuple[SloCheck, ...],
        *,
        missing: str = "",
        about: str = "",
        told: tuple[str, ...] = (),
    ) -> Verdict:
        subject = f"{about}{self.workload.name} under profile {self.profile}"
        if self.events:
            planned = (describe_disruption(event.disruption) for event in self.events[0])
            subject += f", disrupted ({'; '.join(planned)})"
        reasons: list[str] = [*told, missing] if missing else [*told]
        if kind == "regression" and self.reference is not None:
            subject += f", against {self.reference.label}"
            if any(check.outcome is Outcome.REGRESSED for check in checks) and (where := explain(self.shifts())):
                reasons.append(where)
            if self.stop is not None and self.stop.reason:
                reasons.append(self.stop.reason)
            reasons.extend(self.notes)
            checked = self.selfcheck or self.reference.selfcheck
            if checked is not None:
                reasons.append(f"self-check of this machine: {checked.describe()}")
            if self.reference.differences:
                reasons.append("changed since: " + "; ".join(self.reference.differences))
        reasons.extend(dict.fromkeys(f"{f.rule}: {f.message}; {f.recommendation}" for f in self.findings))
        outcome = None
        if not self.valid:
            outcome = Outcome.INVALID
        elif missing:
            outcome = Outcome.NO_BASELINE
        verdict = Verdict.of(
            kind,
            subject,
            checks,
            outcome=outcome,
            reasons=reasons,
            strict=self.policy.strict,
            allow_missing=not self.policy.missing_fails,
            recording=self.policy.updating and (self.reference is None or self.reference.stored),
        )
        self._verdicts.append(verdict)
        return verdict


def _impacts(runs: Sequence[Run], disruptions: Sequence[Sequence[DisruptionEvent]], slo: SLO) -> tuple[Impact, ...]:
    if not disruptions:
        raise ValidationError("nothing was disrupted: pass disruptions=[...] to measure")
    return tuple(impact_of(run, events, slo) for run, events in zip(runs, disruptions, strict=True))
