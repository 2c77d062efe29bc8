"""The result of a session as Markdown for a pull request: the verdict first, one table, the rest folded away."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_inferbench.report.wording import (
    MEANINGS,
    ablation,
    change,
    confidence,
    figure,
    grouped,
    headline,
    interval,
    is_comparison,
    limit,
    ratio,
    verdicts,
    worst,
)
from pytest_inferbench.units import format_seconds

if TYPE_CHECKING:  # the process that reports needs no numpy
    from pytest_inferbench.report.record import Record

__all__ = ["append_markdown", "markdown", "write_markdown"]

#: GitHub refuses a step summary of more than 1 MiB; what is folded away is left out before that.
_LIMIT = 900_000
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")


def markdown(records: Sequence[Record], capacities: Sequence[Record] = (), *, alpha: float = 0.05) -> str:
    """Return the document. Below its table it folds the explanation of what failed, all figures, and where it ran.

    ``alpha``: the error rate of each check, which the intervals follow.
    """
    head = ["## inferbench: " + _text(headline(records)), ""]
    if outcome := worst(records):
        head += [_text(f"{outcome}: {MEANINGS[outcome]}."), ""]
    head += [
        *_checks(records),
        *_capacities(capacities),
        *_ablations(records, capacities),
        *_disrupted(records),
        *_findings(records),
    ]
    if records or capacities:
        head += [_text(confidence(records, alpha)), ""]
    folded = [*_explanations(records), *_impacts(records), *_figures(records), *_environment(records)]
    text = "\n".join([*head, *folded])
    if len(text.encode()) > _LIMIT:
        text = "\n".join([*head, "The figures are omitted, because the report would exceed the limit of GitHub."])
    return text.rstrip() + "\n"


def write_markdown(path: Path, text: str) -> None:
    """Write the document to ``path``, making its folder if need be. Raises OSError if that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def append_markdown(path: Path, text: str) -> None:
    """Add the document to a file that others write to as well (``$GITHUB_STEP_SUMMARY``)."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"\n{text}\n")


def _checks(records: Sequence[Record]) -> Iterator[str]:
    rows = [row for record, verdict in verdicts(records) for row in _rows(record, verdict)]
    if rows:
        yield from _table(("verdict", "test", "profile", "metric", "measured", "change", "against", "n"), rows)


def _rows(record: Record, verdict: Record) -> Iterator[Sequence[str]]:
    where = (record["test"].rpartition("::")[2], record["profile"])
    if not verdict["checks"]:
        yield _strong(verdict["outcome"]), *where, verdict["kind"], "—", "—", "—", str(record["requests"])
    for check in verdict["checks"]:
        metric = check["metric"]
        if is_comparison(check):
            measured = f"{figure(metric, check['reference'])} → {figure(metric, check['candidate'])}"
            against = f"{limit(check)}, {_label(record)}"
            n = f"{check['pairs']} pairs of runs"
            yield _strong(check["outcome"]), *where, metric, measured, change(check), against, n
        else:
            measured = f"{figure(metric, check['estimate'])} ({interval(metric, check['interval'])})"
            n = f"{check['n']} requests"
            yield _strong(check["outcome"]), *where, metric, measured, "", limit(check), n


def _label(record: Record) -> str:
    reference = record["reference"]
    return str(reference["label"]) if reference is not None else "no reference"


def _strong(outcome: str) -> str:
    return f"**{_text(outcome)}**"


def _capacities(capacities: Sequence[Record]) -> Iterator[str]:
    rows = [
        (
            found["profile"],
            f"{figure('throughput', found['rate'])} ({interval('throughput', found['interval'])})",
            ", ".join(f"{metric} {figure(metric, value)}" for metric, value in found["slo"].items()),
            f"{len(found['boots'])} boots, {len(found['probes'])} runs",
        )
        for found in capacities
    ]
    if rows:
        yield from _table(("capacity of profile", "highest rate", "at which these hold", "n"), rows)


def _ablations(records: Sequence[Record], capacities: Sequence[Record]) -> Iterator[str]:
    """Yield what each of several profiles brings against the same reference: ratios with their intervals."""
    for table in ablation(records, capacities):
        how = "interleaved" if table["in_turns"] else "sequentially"
        yield from (
            f"Effect of each profile relative to {_text(table['label'])} (ratios, measured {how}):",
            "",
        )
        rows = [(f"{what} {metric}".rstrip(), *map(ratio, checks)) for what, metric, checks in table["rows"]]
        yield from _table(("", *map(_text, table["profiles"])), rows)


def _disrupted(records: Sequence[Record]) -> Iterator[str]:
    """Yield what was done on purpose, so that nobody takes its effect for the service's ordinary figures."""
    lines = []
    for record in records:
        if planned := dict.fromkeys(_planned(event) for event in record["disruptions"]):
            test = record["test"].rpartition("::")[2]
            lines.append(f"- disrupted on purpose: {test} under profile {record['profile']}: {'; '.join(planned)}")
    if lines:
        yield from (*(f"- {_text(line[2:])}" for line in dict.fromkeys(lines)), "")


def _planned(event: Record) -> str:
    told = {name: value for name, value in event["parameters"].items() if name != "duration"}
    words = [f"{event['kind']} at {format_seconds(event['planned'])}"]
    if "duration" in event["parameters"]:
        words.append(f"for {format_seconds(float(event['parameters']['duration']))}")
    return ", ".join([" ".join(words), *(f"{name} {value}" for name, value in told.items())])


def _impacts(records: Sequence[Record]) -> Iterator[str]:
    rows = [row for record in records for label, system in _both(record) for row in _of_runs(record, label, system)]
    if rows:
        event = ("run", "disruption", "began", "lasted")
        header = ("test", "runs of", *event, "failed", "outage", "recovery", "lost", "n")
        yield from _folded("Disruptions, run by run", list(_table(header, rows)))


def _of_runs(record: Record, label: str, system: Record) -> Iterator[Sequence[str]]:
    """Yield one row per disruption; what the run as a whole lost stands in the row of its first one."""
    seen = set()
    for event in system["disruptions"]:
        impact = system["impacts"][event["run"]]
        figures = [
            str(impact["failed"]),
            figure("outage", impact["outage"]),
            figure("recovery", impact["recovery"]),
            "—" if impact["lost"] is None else str(impact["lost"]),
            str(impact["requests"]),
        ]
        yield (
            record["test"].rpartition("::")[2],
            label,
            str(event["run"] + 1),
            _planned(event),
            "not carried out" if event["began"] is None else figure("began", event["began"]),
            figure("lasted", event["duration"]),
            *(figures if event["run"] not in seen else [""] * len(figures)),
        )
        seen.add(event["run"])


def _findings(records: Sequence[Record]) -> Iterator[str]:
    found = dict.fromkeys(
        f"- {_text(finding['rule'])}: {_text(finding['message'])}; {_text(finding['recommendation'])}"
        for record in records
        for finding in grouped(record["findings"])
    )
    if found:
        yield from (*found, "")


def _explanations(records: Sequence[Record]) -> Iterator[str]:
    failed = [verdict["explanation"] for _, verdict in verdicts(records) if not verdict["passed"]]
    if failed:
        fence = "`" * (3 + max((len(run) for run in re.findall(r"`{3,}", "\n".join(failed))), default=0))
        yield from _folded("Why it failed", [f"{fence}text", *"\n\n".join(failed).splitlines(), fence])


def _figures(records: Sequence[Record]) -> Iterator[str]:
    rows = [row for record in records for row in _system_rows(record)]
    if rows:
        header = ("test", "workload", "runs of", "runs", "n", "failed", "p50", "p95", "p99", "answers")
        yield from _folded("All figures, with their intervals", list(_table(header, rows)))


def _both(record: Record) -> Iterator[tuple[str, Record]]:
    """Yield the label and the figures of the system under test, and of its reference if there is one."""
    yield f"profile {record['profile']}", record
    if record["reference"] is not None:
        yield record["reference"]["label"], record["reference"]


def _system_rows(record: Record) -> Iterator[Sequence[str]]:
    for label, system in _both(record):
        figures = (
            f"{figure(metric, system['figures'][metric]['estimate'])} "
            f"({interval(metric, system['figures'][metric]['interval'])})"
            for metric in ("p50", "p95", "p99", "throughput")
        )
        test, workload = record["test"].rpartition("::")[2], record["workload"]["name"]
        yield test, workload, label, str(len(system["runs"])), str(system["requests"]), str(system["failed"]), *figures


def _environment(records: Sequence[Record]) -> Iterator[str]:
    lines = []
    for environment in _unique(record["environment"] for record in records):
        packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
        lines += [
            f"- {environment['cpu']}, {environment['cpus']} CPUs, {environment['memory_gib']:g} GiB, "
            f"{environment['system']}, Python {environment['python']}",
            f"- revision {environment['revision'] or 'unknown'}; {packages}",
        ]
    for record in records:
        if record["reference"] is not None and record["reference"]["differences"]:
            lines.append(f"- changed since {_label(record)}: {'; '.join(record['reference']['differences'])}")
    if lines:
        yield from _folded("Where it was measured", [f"- {_text(line[2:])}" for line in dict.fromkeys(lines)])


def _unique(values: Iterator[Record]) -> list[Record]:
    found: list[Record] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _folded(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield from (f"<details><summary>{title}</summary>", "", *lines, "", "</details>", "")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + " --- |" * len(header)
    for row in rows:
        yield "| " + " | ".join(cell if cell.startswith("**") else _text(cell) for cell in row) + " |"
    yield ""


def _text(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
