"""The result of a session as one HTML file that needs nothing else: no network, no script, light or dark.

Needs the extra ``report`` (matplotlib, jinja2); only the process that reports imports this module.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from pytest_inferbench.report import plots
from pytest_inferbench.report.figure import Plot
from pytest_inferbench.report.plot_change import mean_parts, pair_ratios, parts
from pytest_inferbench.report.wording import (
    MEANINGS,
    ablation,
    change,
    confidence,
    figure,
    grouped,
    headline,
    in_words,
    interval,
    is_comparison,
    limit,
    number,
    tone,
    worst,
)

if TYPE_CHECKING:
    from pytest_inferbench.report.record import Record

__all__ = ["html", "write_html"]

_KINDS = {"slo": "Objectives", "regression": "Regression", "resilience": "Resilience"}
_METRICS = ("p50", "p95", "p99", "throughput", "error_rate")


def html(records: Sequence[Record], capacities: Sequence[Record] = (), *, settings: Record) -> str:
    """Return the page. ``records`` with the requests of their runs: without them it has no distributions."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"tone": tone, "figure": lambda value, metric: figure(metric, value)}
    outcome = worst(records)
    return environment.get_template("report.html.j2").render(
        headline=headline(records),
        outcome=outcome,
        meaning=MEANINGS.get(outcome, ""),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("pytest-inferbench"),
        measurements=[_measurement(f"m{k}", record) for k, record in enumerate(records, start=1)],
        ablations=[_ablation(table) for table in ablation(records, capacities)],
        capacities=[_capacity(found) for found in capacities],
        environments=_unique(record["environment"] for record in records),
        differences=_differences(records),
        command=_command(records, settings),
        confidence=confidence(records, settings["alpha"]),
    )


def write_html(path: Path, text: str) -> None:
    """Write the page to ``path``, making its folder if need be. Raises OSError if that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _measurement(name: str, record: Record) -> Record:
    reference = record["reference"]
    systems: plots.Systems = {"candidate": (f"profile {record['profile']}", record)}
    if reference is not None:
        systems["reference"] = (reference["label"], reference)
    verdicts = [_verdict(verdict) for verdict in record["verdicts"]]
    compared = next((v["checks"] for v in record["verdicts"] if v["kind"] == "regression" and v["checks"]), None)
    if compared is None:
        compared = reference["comparisons"] if reference is not None else []
    drawn: tuple[Callable[[], Plot | None], ...] = (
        lambda: plots.distribution(name, systems),
        lambda: plots.percentiles(name, systems),
        lambda: plots.over_time(name, systems),
        lambda: pair_ratios(name, compared),
        lambda: parts(name, systems),
    )
    process = {key: value for key, value in record["workload"].items() if key not in ("name", "duration", "process")}
    return {
        "name": name,
        "test": record["test"],
        "workload": record["workload"]["name"],
        "described": ", ".join(
            [
                f"{record['workload']['process']} arrivals for {record['workload']['duration']:g} s",
                *(f"{key} {_short(value)}" for key, value in process.items()),
            ]
        ),
        "profile": record["profile"],
        "outcome": worst([record]),
        "verdicts": verdicts,
        "systems": [
            {
                "label": label,
                "runs": len(system["runs"]),
                "requests": system["requests"],
                "failed": system["failed"],
                "failures": ", ".join(f"{count} {cause}" for cause, count in system["failures"].items()),
                "figures": [
                    (figure(m, system["figures"][m]["estimate"]), interval(m, system["figures"][m]["interval"]))
                    for m in _METRICS
                ],
                "each": [_run(run) for run in system["runs"]],
                "delay": figure("p99", system["issue_delay"]["p99"]),
                "resources": _resources(system["runs"]),
                "disruptions": [_disruption(event, impact) for event, impact in _disruptions(system)],
                "parts": [(part, figure("p50", seconds)) for part, seconds in mean_parts(system).items()],
            }
            for label, system in systems.values()
        ],
        "change": _change(record),
        "others": [] if reference is None else [_check(check) for check in reference["comparisons"]],
        "findings": grouped(record["findings"]),
        "ended": "; ".join(filter(None, (record["ended"], *record["notes"]))),
        "selfcheck": "" if record["selfcheck"] is None else record["selfcheck"]["text"],
        "plots": [plot for draw in drawn if (plot := draw()) is not None],
    }


def _verdict(verdict: Record) -> Record:
    return {
        "kind": _KINDS[verdict["kind"]],
        "outcome": verdict["outcome"],
        "meaning": MEANINGS[verdict["outcome"]],
        "summary": in_words(verdict),
        "passed": verdict["passed"],
        "checks": [_check(check) for check in verdict["checks"]],
        "compared": any(is_comparison(check) for check in verdict["checks"]),
        "explanation": verdict["explanation"],
    }


def _check(check: Record) -> Record:
    metric = check["metric"]
    compared = is_comparison(check)
    if compared:
        measured = f"{figure(metric, check['reference'])} → {figure(metric, check['candidate'])}"
    else:
        measured = f"{figure(metric, check['estimate'])} ({interval(metric, check['interval'])})"
    return {
        "metric": metric,
        "outcome": check["outcome"],
        "measured": measured,
        "change": change(check) if compared else "—",
        "limit": limit(check),
        "n": f"{check['pairs']} pairs" if compared else f"{check['n']} requests",
    }


def _change(record: Record) -> str:
    """Return the change that decided the measurement's verdict on a regression; without one, that of p95."""
    for verdict in record["verdicts"]:
        if verdict["kind"] == "regression" and verdict["checks"]:
            return in_words(verdict)
    compared = () if record["reference"] is None else record["reference"]["comparisons"]
    return next((f"p95 {change(check)}" for check in compared if check["metric"] == "p95"), "not compared")


def _ablation(table: Record) -> Record:
    rows = []
    for workload, metric, compared in table["rows"]:
        cells = [
            ("—", "", "")
            if check is None
            else (_ratio(check["ratio"]), " to ".join(map(_ratio, check["interval"])), check["outcome"])
            for check in compared
        ]
        rows.append((workload, metric, cells))
    return {**table, "rows": rows}


def _ratio(value: float | str | None) -> str:
    ratio = number(value)
    return f"{ratio:.3f}" if 0.1 <= ratio < 100 else f"{ratio:.3g}"


def _resources(runs: Sequence[Record]) -> list[str]:
    """Return what service and generator used, in words; empty where that was not measured."""
    found = [(run["resources"], run) for run in runs if run["resources"] is not None]
    service = [(one["service"], run) for one, run in found if one["service"] is not None]
    generator = [one["generator"] for one, _ in found if one["generator"] is not None]
    summary = []
    if service:
        requests = sum(run["requests"] for _, run in service)
        seconds = sum(one["cpu_seconds"] for one, _ in service)
        peak = max(one["peak_rss_bytes"] for one, _ in service) / 2**20
        summary.append(
            f"service {figure('p50', seconds / max(requests, 1))} of CPU per request, at most {peak:.0f} MiB"
        )
        throttled = [one["throttled_seconds"] for one, _ in service if one["throttled_seconds"]]
        if throttled:
            summary.append(f"throttled by a CPU quota for {figure('p50', sum(throttled))}")
    if generator:
        seconds = sum(one["cpu_seconds"] for one in generator)
        summary.append(f"load generator {figure('p50', seconds)} of CPU in {len(generator)} runs")
    return summary


def _disruptions(system: Record) -> Iterator[tuple[Record, Record]]:
    """Yield each disruption of a system with its impact on the run; nothing where the impact is not known."""
    impacts = system["impacts"]
    yield from ((event, impacts[event["run"]]) for event in system["disruptions"] if impacts)


def _disruption(event: Record, impact: Record) -> Sequence[str]:
    """Return a disruption and what the run that it hit lost, as cells of a table."""
    return (
        str(event["run"] + 1),
        f"{event['kind']} ({event['detail']})",
        "not carried out" if event["began"] is None else figure("p50", event["began"]),
        figure("p50", event["duration"]),
        f"{impact['failed']} of {impact['requests']}",
        figure("p50", impact["outage"]),
        figure("p50", impact["recovery"]),
        "—" if impact["lost"] is None else str(impact["lost"]),
    )


def _run(run: Record) -> Sequence[object]:
    figures = (figure(metric, run[metric]) for metric in ("p50", "p95", "throughput"))
    return run["seed"], run["requests"], run["failed"], *figures


def _capacity(found: Record) -> Record:
    return {
        "profile": found["profile"],
        "rate": figure("throughput", found["rate"]),
        "interval": interval("throughput", found["interval"]),
        "slo": ", ".join(f"{metric} {figure(metric, value)}" for metric, value in found["slo"].items()),
        "n": f"{len(found['boots'])} boots, {len(found['probes'])} runs",
    }


def _differences(records: Sequence[Record]) -> list[tuple[str, str]]:
    found = [
        (record["reference"]["label"], difference)
        for record in records
        if record["reference"] is not None
        for difference in record["reference"]["differences"]
    ]
    return list(dict.fromkeys(found))


def _command(records: Sequence[Record], settings: Record) -> str:
    words = ["pytest", *dict.fromkeys(record["test"].partition("[")[0] for record in records)]
    for profile in settings["profiles"]:
        words += ["--profile", profile]
    if settings["against"] is not None:
        words += ["--against", settings["against"]]
    words += [f"--inferbench-repeats={settings['repeats']}", f"--inferbench-seed={settings['seed']}"]
    for name in ("duration", "budget"):
        if settings[name] is not None:
            words.append(f"--inferbench-{name}={settings[name]:g}")
    words += [f"--inferbench-alpha={settings['alpha']:g}", *(["--inferbench-strict"] if settings["strict"] else [])]
    return shlex.join(words)


def _unique(values: Iterator[Record]) -> list[Record]:
    found: list[Record] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _short(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"
