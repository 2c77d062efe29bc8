"""One measurement and its verdicts as plain JSON values: what every report is made of.

Plain values cross the boundary between pytest-xdist's workers and the process that reports, and they are what
the JSON result holds. Times are seconds, rates per second, error rates fractions; what is not finite is the string
``"inf"`` or ``"-inf"``, and null where there is no such figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from pytest_inferbench.disruption import DisruptionEvent, disruption_identity
from pytest_inferbench.harness.capacity import Capacity
from pytest_inferbench.judgement.attribution import breakdown
from pytest_inferbench.judgement.comparison import Comparison
from pytest_inferbench.judgement.cost_curve import fitted
from pytest_inferbench.judgement.estimate import estimate, run_figure
from pytest_inferbench.judgement.measurement import Measurement, Reference
from pytest_inferbench.judgement.pairing import Sample
from pytest_inferbench.judgement.resilience import impact_of, outage_of
from pytest_inferbench.judgement.selfcheck import SelfCheck
from pytest_inferbench.judgement.slo import SLO, SloCheck
from pytest_inferbench.judgement.verdict import Verdict, describe
from pytest_inferbench.report.latencies import Record, raw_run
from pytest_inferbench.runs.run import Failure, Run
from pytest_inferbench.stats.quantiles import quantile

__all__ = ["Record", "capacity_record", "measurement_record", "verdict_record"]

_FIGURES = ("p50", "p95", "p99", "error_rate", "throughput")
_COMPARED = ("p50", "p95", "throughput", "error_rate")


def measurement_record(
    test: str, measurement: Measurement, *, raw: bool = False, beside: Measurement | None = None
) -> Record:
    """Return a measurement with the verdicts that its test asked for.

    ``beside``: what the same test measured under the first profile of the session, for a table of what others bring.

    ``raw``: every run has its requests too (see `raw_run`): the record is then as large as the measurement was long.
    """
    reference = measurement.reference
    alpha = measurement.policy.alpha
    record: Record = {
        "test": test,
        "workload": measurement.workload.identity,
        "profile": measurement.profile,
        **_system_figures(measurement.runs, measurement.events, alpha, raw),
        "findings": [
            {
                "rule": finding.rule,
                "kind": finding.kind,
                "message": finding.message,
                "value": _number(finding.value),
                "limit": _number(finding.limit),
                "recommendation": finding.recommendation,
            }
            for finding in measurement.findings
        ],
        "environment": measurement.environment.to_dict(),
        "level": alpha if measurement.stop is None else measurement.stop.level,
        "ended": "" if measurement.stop is None else measurement.stop.reason,
        "notes": list(measurement.notes),
        "selfcheck": None if measurement.selfcheck is None else _plain(measurement.selfcheck),
        "reference": None
        if reference is None
        else {
            "label": reference.label,
            "differences": list(reference.differences),
            **_system_figures(reference.runs, reference.events, alpha, raw),
            "comparisons": [_check(check) for check in measurement.comparisons(_COMPARED)],
            "shifts": [
                {
                    "component": shift.component,
                    "reference": _number(shift.reference),
                    "candidate": _number(shift.candidate),
                    "change": _number(shift.change),
                    "interval": [_number(end) for end in shift.interval],
                }
                for shift in measurement.shifts()
            ],
        },
        "beside": None if beside is None else _beside(beside, measurement),
        "verdicts": [verdict_record(verdict) for verdict in measurement.verdicts],
    }
    if measurement.recovered_by is not None:
        _note_impacts(record, measurement, measurement.recovered_by)
    return record


def _beside(first: Measurement, measurement: Measurement) -> Record:
    reference = Reference(label=f"profile {first.profile}", runs=first.runs)
    compared = replace(measurement, reference=reference).comparisons(_COMPARED)
    return {"label": reference.label, "comparisons": [_check(check) for check in compared]}


def capacity_record(test: str, capacity: Capacity) -> Record:
    """Return what a search for the capacity found, with every run it took."""
    return {
        "test": test,
        "profile": capacity.profile,
        "slo": dict(capacity.slo.limits),
        "rate": _number(capacity.rate),
        "interval": [_number(end) for end in capacity.interval],
        "boots": [_number(rate) for rate in capacity.boots],
        "probes": [
            {
                "boot": probe.boot,
                "rate": _number(probe.rate),
                "held": probe.held,
                "p95": _number(probe.p95),
                "error_rate": _number(probe.error_rate),
            }
            for probe in capacity.probes
        ],
        "text": repr(capacity),
    }


def verdict_record(verdict: Verdict) -> Record:
    """Return a verdict with its checks and the explanation that a failing assert shows."""
    return {
        "kind": verdict.kind,
        "subject": verdict.subject,
        "outcome": str(verdict.outcome),
        "passed": verdict.passed,
        "checks": [_check(check) for check in verdict.checks],
        "reasons": list(verdict.reasons),
        "explanation": repr(verdict),
    }


def _note_impacts(record: Record, measurement: Measurement, slo: SLO) -> None:
    """Complete the impacts of a disrupted measurement's record, now that ``slo`` says what counts as recovered."""
    systems: list[tuple[Record, Measurement | Reference]] = [(record, measurement)]
    if measurement.reference is not None and measurement.reference.events:
        systems.append((record["reference"], measurement.reference))
    for made, system in systems:
        for impact, run, events in zip(made["impacts"], system.runs, system.events, strict=True):
            if any(event.began_ns is not None for event in events):
                found = impact_of(run, events, slo)
                impact.update(recovery=_number(found.recovery), lost=found.lost, slo=dict(slo.limits))


def _system_figures(
    runs: Sequence[Run], disruptions: Sequence[Sequence[DisruptionEvent]], alpha: float, raw: bool
) -> Record:
    samples = [Sample(run.latencies, run) for run in runs if len(run)]
    late = np.concatenate([run.issue_delay_ns[run.issued_ns >= 0] for run in runs]) / 1e9
    return {
        "requests": sum(len(run) for run in runs),
        "failed": sum(int(run.failed.sum()) for run in runs),
        "failures": {
            kind.name.lower(): count
            for kind in Failure
            if kind is not Failure.NONE and (count := sum(run.count(kind) for run in runs))
        },
        "figures": {metric: _figure(samples, metric, alpha) for metric in _FIGURES},
        "issue_delay": {name: _number(_quantile(late, p)) for name, p in (("p50", 0.5), ("p99", 0.99))},
        "runs": [_run(run) | ({"raw": raw_run(run)} if raw else {}) for run in runs],
        "curve": fitted(runs, alpha=alpha),
        "disruptions": [_disruption(number, event) for number, events in enumerate(disruptions) for event in events],
        "impacts": [
            {
                "run": number,
                "requests": len(runs[number]),
                "failed": int(runs[number].failed.sum()),
                "outage": _number(outage_of(runs[number])),
                "recovery": None,
                "lost": None,
                "slo": None,
            }
            for number in range(len(disruptions))
        ],
    }


def _figure(samples: Sequence[Sample], metric: str, alpha: float) -> Record:
    if not samples:
        return {"estimate": None, "interval": None}
    found = estimate(samples, metric, alpha=alpha)
    # An interval that too few requests support is not claimed.
    interval = None if found.doubts else [_number(end) for end in found.interval]
    return {"estimate": _number(found.value), "interval": interval}


def _run(run: Run) -> Record:
    sample = Sample(run.latencies, run) if len(run) else None
    return {
        "seed": run.seed,
        "digest": run.digest,
        "payload_digest": run.payload_digest,
        "requests": len(run),
        "failed": int(run.failed.sum()),
        **{name: None if sample is None else _number(run_figure(sample, name)) for name in ("p50", "p95")},
        "throughput": _number(run.throughput),
        "server_timing": {
            name: _number(float(np.nanmean(values)))
            for name, values in run.server_timing.items()
            if not np.isnan(values).all()
        },
        "breakdown": {name: _number(seconds) for name, seconds in breakdown(run).items()},
        "resources": None if run.resources is None else asdict(run.resources),
        "calibration": None if run.calibration_ns is None else run.calibration_ns / 1e9,
        "turns": [{"first": turn.first, "seconds": turn.seconds, "others": turn.others} for turn in run.turns],
    }


def _disruption(number: int, event: DisruptionEvent) -> Record:
    parameters = disruption_identity(event.disruption)
    return {
        "run": number,
        "kind": parameters.pop("kind"),
        "planned": parameters.pop("at"),
        "began": event.began,
        "ended": event.ended,
        "duration": None if event.began is None or event.ended is None else event.ended - event.began,
        "detail": event.detail,
        "parameters": parameters,
    }


def _check(check: Comparison | SloCheck) -> Record:
    common = {
        "metric": check.metric,
        "outcome": str(check.outcome),
        "interval": [_number(end) for end in check.interval],
        "reasons": list(check.reasons),
        "text": describe(check),
    }
    if isinstance(check, SloCheck):
        return {**common, "estimate": _number(check.estimate), "limit": _number(check.limit), "n": check.n}
    return {
        **common,
        "reference": _number(check.reference),
        "candidate": _number(check.candidate),
        "ratio": _number(check.ratio),
        "margin": check.margin,
        "alpha": check.alpha,
        "pairs": check.pairs,
        "pair_ratios": [_number(ratio) for ratio in check.pair_ratios],
        "p_value": _number(check.p_value),
        "adjusted_p": None if check.adjusted_p is None else _number(check.adjusted_p),
        "more_pairs": check.more_pairs,
    }


def _plain(check: SelfCheck) -> Record:
    noise = [
        {
            "metric": noise.metric,
            "sd": _number(noise.sd),
            "interval": [_number(end) for end in noise.interval],
            "detectable": _number(noise.detectable),
            "at_worst": _number(noise.at_worst),
            "turns": noise.turns,
            "boots": noise.boots,
        }
        for noise in check.noise
    ]
    return {**check.to_dict(), "noise": noise, "text": check.describe()}


def _quantile(values: Any, p: float) -> float:
    return quantile(values, p) if values.size else math.nan


def _number(value: float) -> float | str | None:
    value = float(value)
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
