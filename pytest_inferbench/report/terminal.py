"""The summary at the end of a session: a table of figures, then what was judged, within 100 columns."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_inferbench.judgement import phrases
from pytest_inferbench.report.wording import ablation, confidence, figure, grouped, ratio
from pytest_inferbench.units import format_fraction, format_seconds

if TYPE_CHECKING:  # the process that reports needs no numpy
    from pytest_inferbench.report.record import Record

__all__ = ["Span", "summary"]

_STYLES = {
    "PASS": "green",
    "IMPROVED": "green",
    "MET": "green",
    "REGRESSED": "red",
    "MISSED": "red",
    "INVALID": "red",
    "INCONCLUSIVE": "yellow",
    "UNCERTAIN": "yellow",
    "NO_BASELINE": "yellow",
}
_COLUMNS = ("p50", "p95", "p99")
_NAME, _FIGURE = 25, 14
_CHECK = 70
#: Columns of the comparison of several profiles: the first names the workload, as many profiles as fit 100 columns.
_RATIO, _MOST_PROFILES = 20, 4


@dataclass(frozen=True, slots=True)
class Span:
    """Some text, and how to show it: a colour, ``bold``, ``light`` or nothing."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


def summary(records: Sequence[Record], capacities: Sequence[Record] = (), *, alpha: float = 0.05) -> Iterator[Line]:
    """Yield the lines of the summary of a session's measurements and of the capacities it found.

    ``alpha``: the error rate of each check, which the intervals follow.
    """
    for profile in dict.fromkeys(record["profile"] for record in records):
        chosen = [record for record in records if record["profile"] == profile]
        name = _cut(profile, 40)
        yield (Span(f"profile {name}", "bold"), Span(_environment(chosen[0], 92 - len(name)), "light"))
        yield (Span(_header(), "light"),)
        for record in chosen:
            yield from _measurement(record)
        yield ()
    yield from _ablation(records, capacities)
    for found in capacities:
        yield from _capacity(found)
    if records or capacities:
        yield (Span(confidence(records, alpha), "light"),)
    if records or not capacities:
        yield from _count_outcomes(records)


def _ablation(records: Sequence[Record], capacities: Sequence[Record]) -> Iterator[Line]:
    """Yield what each of several profiles brings against the same reference: ratios with their intervals."""
    for table in ablation(records, capacities):
        profiles = table["profiles"][:_MOST_PROFILES]
        yield (Span("effect of each profile ", "bold"), Span(f"relative to {table['label']}: ratios", "light"))
        if not table["in_turns"]:
            yield (Span("measured sequentially; use --against to interleave (more precise)", "light"),)
        yield (Span(f"{'':<{_RATIO}}" + "".join(f"{_cut(name, _RATIO - 2):>{_RATIO}}" for name in profiles), "light"),)
        for workload, metric, checks in table["rows"]:
            ratios = "".join(f"{ratio(check):>{_RATIO}}" for check in checks[:_MOST_PROFILES])
            name = f"{_cut(workload, _RATIO - 1 - len(metric))} {metric}"
            yield (Span(f"{name:<{_RATIO}}{ratios}"),)
        yield ()


def _capacity(found: Record) -> Iterator[Line]:
    low, high = (_rate(end) for end in found["interval"])
    limits = ", ".join(f"{metric} {figure(metric, limit)}" for metric, limit in found["slo"].items())
    boots = f"{len(found['boots'])} boots" if len(found["boots"]) > 1 else "1 boot"
    yield (
        Span("capacity ", "bold"),
        Span(f"{_cut(found['profile'], 30)}: {_rate(found['rate'])}/s ({low} to {high}) under {limits}; "),
        Span(f"{boots}, {len(found['probes'])} runs", "light"),
    )


def _environment(record: Record, width: int) -> str:
    environment = record["environment"]
    size = f", {environment['cpus']} CPUs, {environment['memory_gib']:g} GiB"
    return f"  on {_cut(environment['cpu'], width - 5 - len(size))}{size}"


def _header() -> str:
    figures = "".join(f"{name:>{_FIGURE}}" for name in _COLUMNS)
    return f"{'workload':<{_NAME}}{'n':>6}{'failed':>7}{figures}{'answers/s':>10}{'delay':>9}"


def _measurement(record: Record) -> Iterator[Line]:
    yield from _rows(record["workload"]["name"], record, style="")
    reference = record["reference"]
    if reference is not None:
        yield from _rows(f"  vs {reference['label']}", reference, style="light")
        if not any(verdict["kind"] == "regression" for verdict in record["verdicts"]):
            yield from _checks("compared", reference["comparisons"])
    for verdict in record["verdicts"]:
        yield from _verdict(verdict, reference)
    yield from _parts(record)
    yield from _resources(record)
    if record["disruptions"]:
        yield from _wrapped("disrupted", _disruptions(record["disruptions"]))
    for sentence in filter(None, (record["ended"], *record["notes"])):
        yield (Span(f"  {_cut(sentence, 98)}", "light"),)
    if record["selfcheck"] is not None:
        yield from _selfcheck(record["selfcheck"])
    for finding in grouped(record["findings"]):
        style = "red" if finding["kind"] == "invalid" else "yellow"
        yield from _wrapped(f"{finding['rule']}:", finding["message"], "", style)


def _disruptions(events: Sequence[Record]) -> str:
    """Return ``"KillWorker at 5.00 s (5.00 s to 5.02 s)"``: planned, and when it really began over the runs."""
    words = []
    for kind, planned in dict.fromkeys((event["kind"], event["planned"]) for event in events):
        chosen = [event for event in events if (event["kind"], event["planned"]) == (kind, planned)]
        began = [event["began"] for event in chosen if event["began"] is not None]
        span = f"{format_seconds(min(began))} to {format_seconds(max(began))}" if began else "could not be carried out"
        words.append(f"{kind} at {format_seconds(planned)} ({span})")
    return "; ".join(words)


def _parts(record: Record) -> Iterator[Line]:
    """Yield where the time of a mean request goes, if the service says: the parts of all runs, averaged."""
    runs = [run["breakdown"] for run in record["runs"] if run["breakdown"]]
    names = list(dict.fromkeys(name for parts in runs for name in parts))
    if len(names) < 3:
        return
    means = {name: sum(float(parts.get(name) or 0.0) for parts in runs) / len(runs) for name in names}
    shown = (f"{name} {format_seconds(max(seconds, 0.0))}".replace(" ", "\xa0") for name, seconds in means.items())
    yield from _wrapped("mean time in", ", ".join(shown))


def _resources(record: Record) -> Iterator[Line]:
    """Yield what an answer cost: CPU time of the service and of the generator, and the service's memory."""
    answers = record["requests"] - record["failed"]
    used = [run["resources"] for run in record["runs"] if run.get("resources")]
    if not answers or len(used) < len(record["runs"]):
        return
    parts = []
    service = [resources["service"] for resources in used if resources["service"]]
    if len(service) == len(used):
        switches = sum(one["context_switches"] for one in service) / answers
        parts.append(f"service {format_seconds(sum(one['cpu_seconds'] for one in service) / answers)} CPU per answer")
        parts.append(f"{max(one['peak_rss_bytes'] for one in service) / 2**20:.0f} MiB, {switches:.0f} switches")
        if throttled := sum(one["throttled_seconds"] or 0.0 for one in service):
            parts.append(f"throttled {format_seconds(throttled)}")
    generator = [resources["generator"] for resources in used if resources["generator"]]
    if len(generator) == len(used):
        seconds = sum(one["cpu_seconds"] for one in generator) / answers
        parts.append(f"generator {format_seconds(seconds)}")
    if parts:
        yield from _wrapped("resources", ", ".join(parts))
    yield from _pods(used)


def _pods(used: Sequence[Record]) -> Iterator[Line]:
    """Yield what the pods of a service in a cluster used, over all runs, and how often the cluster told of what."""
    pods = [pod for resources in used for pod in resources["pods"]]
    if not pods:
        return
    known = [pod for pod in pods if pod["cpu_seconds"] is not None]
    parts = [f"{len(pods)} in {len(used)} runs"]
    if gone := len(pods) - len(known):
        parts.append(f"{gone} gone at the end")
    if known:
        each = [float(pod["cpu_seconds"]) for pod in known]
        parts.append(f"{format_seconds(min(each))} to {format_seconds(max(each))} CPU each")
        parts.append(f"up to {max(pod['peak_memory_bytes'] or 0 for pod in known) / 2**20:.0f} MiB")
        if throttled := sum(pod["throttled_seconds"] or 0.0 for pod in known):
            parts.append(f"throttled {format_seconds(throttled)}")
    if restarts := sum(pod["restarts"] for pod in pods):
        parts.append(f"{restarts} restarts")
    yield from _wrapped("pods", ", ".join(parts))
    reasons = Counter(event.partition(":")[0] for resources in used for event in resources["events"])
    if reasons:
        yield from _wrapped("events", ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(8)))


def _selfcheck(check: Record) -> Iterator[Line]:
    for index, noise in enumerate(check["noise"]):
        low, high = (format_fraction(float(end)) for end in noise["interval"])
        what = "noise between boots"
        if noise["turns"] is not None:
            what = (
                f"between turns {format_fraction(noise['turns'])}, boots {format_fraction(noise['boots'])}; of a pair"
            )
        yield (
            Span(f"  {'self-check' if index == 0 else '':<15}", "bold"),
            Span(
                f"{noise['metric']}: {what} {format_fraction(float(noise['sd']))} ({low} to {high}); "
                f"{check['repeats']} pairs detect {format_fraction(float(noise['detectable']))} slower"
            ),
        )
    alarms, draws = check["false_alarms"], check["draws"]
    yield (Span(f"{'':<17}false alarms: {alarms} of {draws} comparisons drawn from these {check['pairs']} pairs"),)


def _rows(name: str, system: Record, *, style: str) -> Iterator[Line]:
    """Yield the estimates, and under them their intervals."""
    figures = system["figures"]
    estimates = "".join(f"{_seconds(figures[column]['estimate']):>{_FIGURE}}" for column in _COLUMNS)
    failed = system["failed"]
    rate = figures["throughput"]["estimate"]
    yield (
        Span(f"{_cut(name, _NAME - 1):<{_NAME}}{system['requests']:>6}", style),
        Span(f"{failed:>7}", "red" if failed else style),
        Span(f"{estimates}{_rate(rate):>10}{_seconds(system['issue_delay']['p99']):>9}", style),
    )
    runs = len(system["runs"])
    intervals = "".join(f"{_interval(figures[column]['interval']):>{_FIGURE}}" for column in _COLUMNS)
    boots = f"  {runs} {'run' if runs == 1 else 'runs'}"
    yield (Span(f"{boots:<{_NAME + 13}}{intervals}", "light"),)


def _verdict(verdict: Record, reference: Record | None) -> Iterator[Line]:
    label = "SLO" if verdict["kind"] == "slo" else str(verdict["kind"])
    if verdict["checks"]:
        yield from _checks(label, verdict["checks"])
        if verdict["kind"] == "regression" and reference is not None:
            asserted = {check["metric"] for check in verdict["checks"]}
            rest = [check for check in reference["comparisons"] if check["metric"] not in asserted]
            yield from _checks("(not asserted)", rest)
    else:
        # Whole: it says what to do about it.
        reason = textwrap.wrap(verdict["reasons"][0], 70, break_on_hyphens=False) if verdict["reasons"] else []
        yield (
            Span(f"  {label:<15}"),
            Span(f"{verdict['outcome']:<13}", _STYLES[verdict["outcome"]]),
            Span(reason[0] if reason else ""),
        )
        for line in reason[1:]:
            yield (Span(f"{'':<30}{line}"),)


def _checks(label: str, checks: Iterable[Record]) -> Iterator[Line]:
    for index, check in enumerate(checks):
        yield (
            Span(f"  {label if index == 0 else '':<15}"),
            Span(f"{check['outcome']:<13}", _STYLES[check["outcome"]]),
            Span(_cut(_shorten(check), _CHECK)),
        )


def _shorten(check: Record) -> str:
    """Return the figures of a check without what the table above already says."""
    if "ratio" not in check:
        return str(check["text"]).partition(";")[0]
    figures = str(check["text"]).partition(", margin")[0]
    whole = f"{figures}, {phrases.count(check['pairs'], 'pair')}"
    return whole if len(whole) <= _CHECK else figures


def _count_outcomes(records: Sequence[Record]) -> Iterator[Line]:
    verdicts = [verdict for record in records for verdict in record["verdicts"]]
    checks = [check for verdict in verdicts for check in verdict["checks"]]
    outcomes = Counter(check["outcome"] for check in checks)
    outcomes.update(verdict["outcome"] for verdict in verdicts if not verdict["checks"])
    total = sum(outcomes.values())
    if not total:
        yield (Span("no test asserted anything about the measurements", "yellow"),)
        return
    spans = [Span(f"{total} {'check' if total == 1 else 'checks'}: ")]
    for outcome, count in outcomes.most_common():
        spans += [Span(f"{count} {outcome}", _STYLES[outcome]), Span(", ")]
    yield tuple(spans[:-1])


def _wrapped(label: str, text: str, style: str = "light", label_style: str = "") -> Iterator[Line]:
    """Yield ``text`` beside its label, in up to four lines. A no-break space is where a line must not end."""
    first = f"  {label} " if label.endswith(":") else f"  {label:<14} "
    wrapper = textwrap.TextWrapper(100 - 17, " " * (len(first) - 17), max_lines=4, placeholder="…")
    wrapper.break_on_hyphens = False
    for index, line in enumerate(wrapper.wrap(text)):
        yield (Span(first if index == 0 else " " * 17, label_style), Span(line.strip().replace("\xa0", " "), style))


def _seconds(value: float | str | None) -> str:
    return "—" if value is None else format_seconds(float(value))


def _interval(ends: Sequence[float | str | None] | None) -> str:
    """Return ``"13.9-14.6 ms"``: one unit for both ends, that of the upper one."""
    if ends is None or ends[0] is None or ends[1] is None:
        return "—"
    low, high = float(ends[0]), float(ends[1])
    if low == high:
        return format_seconds(low)
    lower, _, low_unit = format_seconds(low).partition(" ")
    upper, _, high_unit = format_seconds(high).partition(" ")
    return f"{lower}-{upper} {high_unit}" if low_unit == high_unit else f"{lower}{low_unit}-{upper}{high_unit}"


def _rate(value: float | str | None) -> str:
    return "—" if value is None or isinstance(value, str) else f"{value:.1f}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"
