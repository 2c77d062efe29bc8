"""Records in words: the headline of a session and the figures of a check, as every written report has them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_inferbench.judgement import phrases
from pytest_inferbench.judgement.outcome import Outcome

if TYPE_CHECKING:  # the process that reports needs no numpy
    from pytest_inferbench.report.record import Record

__all__ = [
    "MEANINGS",
    "ablation",
    "change",
    "confidence",
    "figure",
    "grouped",
    "headline",
    "in_words",
    "interval",
    "is_comparison",
    "limit",
    "number",
    "ratio",
    "tone",
    "verdicts",
    "worst",
]

#: What each outcome says, for readers who meet it for the first time.
MEANINGS = {
    "PASS": "not slower by more than the margin",
    "IMPROVED": "better by more than the margin",
    "MET": "within the limit",
    "REGRESSED": "worse by more than the margin",
    "MISSED": "beyond the limit",
    "INCONCLUSIVE": "not decided: neither a regression nor its absence could be shown",
    "UNCERTAIN": "not decided: neither within nor beyond the limit could be shown",
    "NO_BASELINE": "there is nothing to compare with on this machine",
    "INVALID": "the measurement itself failed: nothing is judged",
}
_BAD = frozenset({"REGRESSED", "MISSED", "INVALID"})
_GOOD = frozenset({"PASS", "IMPROVED", "MET"})


def tone(outcome: str) -> str:
    """Return ``good``, ``bad`` or ``unclear``: how an outcome is coloured. It is always written out beside it."""
    return "bad" if outcome in _BAD else "good" if outcome in _GOOD else "unclear"


def verdicts(records: Sequence[Record]) -> Iterator[tuple[Record, Record]]:
    """Yield every verdict with the measurement that it is about."""
    for record in records:
        for verdict in record["verdicts"]:
            yield record, verdict


def worst(records: Sequence[Record]) -> str:
    """Return the gravest outcome of a session, or "" where nothing was asserted."""
    found = [Outcome(verdict["outcome"]) for _, verdict in verdicts(records)]
    return str(Outcome.worst(found)) if found else ""


def headline(records: Sequence[Record]) -> str:
    """Return the result of a session in one sentence, the gravest outcome first."""
    counts = Counter(str(verdict["outcome"]) for _, verdict in verdicts(records))
    total = sum(counts.values())
    if not total:
        return "nothing was judged" if not records else "measured, but no test asserted anything"
    gravest = worst(records)
    rest = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common() if outcome != gravest)
    word = "verdict" if total == 1 else "verdicts"
    return f"{gravest}: {counts[gravest]} of {total} {word}" + (f"; {rest}" if rest else "")


def confidence(records: Sequence[Record], alpha: float) -> str:
    """Return in one sentence what every interval of a report is: two-sided at 1 - 2 ``alpha``.

    It names the exception where there is one: checks that share ``alpha`` with other looks or classes of sizes.
    """
    checks = [check for record in records for verdict in record["verdicts"] for check in verdict["checks"]]
    checks += [check for record in records if record["reference"] for check in record["reference"]["comparisons"]]
    shared = any(check["alpha"] < alpha * (1 - 1e-9) for check in checks if is_comparison(check))
    wider = "; wider where interim looks or size classes share alpha" if shared else ""
    return f"Intervals are two-sided at {100 * (1 - 2 * alpha):.4g} % (1 − 2·alpha){wider}."


def ablation(records: Sequence[Record], capacities: Sequence[Record] = ()) -> list[Record]:
    """Return what each of several profiles brings against one reference: a table per reference.

    Each has the ``label`` of the reference, whether both were measured ``in_turns``, the ``profiles``, and ``rows`` of
    workload, metric and the comparison under each profile (None where there is none). The reference is that of the
    session (``--against``), or else the first of its profiles.
    """
    tables = []
    for key in ("reference", "beside"):
        compared = [record for record in records if record[key] and record[key]["comparisons"]]
        for label in dict.fromkeys(record[key]["label"] for record in compared):
            chosen = [record for record in compared if record[key]["label"] == label]
            profiles = list(dict.fromkeys(record["profile"] for record in chosen))
            # A stored baseline is each profile's own: no common reference.
            if (len(profiles) < 2 and key == "reference") or not label.startswith("profile "):
                continue
            rows: list[tuple[str, str, list[Record | None]]] = []
            for workload in dict.fromkeys(record["workload"]["name"] for record in chosen):
                cells = {record["profile"]: record for record in chosen if record["workload"]["name"] == workload}
                for metric in ("p50", "p95", "throughput"):
                    rows.append((workload, metric, [_comparison(cells.get(name), key, metric) for name in profiles]))
            rows += _capacity_rows(label.removeprefix("profile "), profiles, capacities)
            tables.append({"label": label, "in_turns": key == "reference", "profiles": profiles, "rows": rows})
    first, *others = dict.fromkeys(found["profile"] for found in capacities) or [""]
    if not tables and (only := _capacity_rows(first, others, capacities)):
        tables.append({"label": f"profile {first}", "in_turns": False, "profiles": others, "rows": only})
    return tables


def _comparison(record: Record | None, key: str, metric: str) -> Record | None:
    checks = record[key]["comparisons"] if record is not None else ()
    return next((check for check in checks if check["metric"] == metric and check["ratio"] is not None), None)


def ratio(check: Record | None) -> str:
    """Return the ratio of a comparison with its interval."""
    if check is None:
        return "—"
    low, high = (number(end) for end in check["interval"])
    return f"{number(check['ratio']):.3g} ({low:.2g}-{high:.2g})"


def _capacity_rows(
    reference: str, profiles: Sequence[str], capacities: Sequence[Record]
) -> list[tuple[str, str, list[Record | None]]]:
    """Return the ratios of capacities that the same test found; their intervals divided, end by opposite end."""
    rows: list[tuple[str, str, list[Record | None]]] = []
    for test in dict.fromkeys(found["test"] for found in capacities):
        of = {found["profile"]: found for found in capacities if found["test"] == test}
        base = of.get(reference)
        if base is None or not any(name in of for name in profiles):
            continue
        low, high = (number(end) for end in base["interval"])
        cells: list[Record | None] = [
            {
                "ratio": number(of[name]["rate"]) / number(base["rate"]),
                "interval": [number(of[name]["interval"][0]) / high, number(of[name]["interval"][1]) / low],
                "outcome": "",
            }
            if name in of
            else None
            for name in profiles
        ]
        rows.append(("capacity", "", cells))
    return rows


def grouped(findings: Sequence[Record]) -> list[Record]:
    """Return the first finding of each rule, its message with the number of further runs that broke it too."""
    rules: dict[tuple[str, str], list[Record]] = {}
    for finding in findings:
        rules.setdefault((finding["kind"], finding["rule"]), []).append(finding)
    return [
        {
            **first,
            "message": first["message"]
            + (f" (and {len(rest)} more {'runs' if len(rest) > 1 else 'run'})" if rest else ""),
        }
        for first, *rest in rules.values()
    ]


def number(value: float | str | None) -> float:
    """Return a figure of a record as a float: NaN for null, infinite for ``"inf"``."""
    return math.nan if value is None else float(value)


def figure(metric: str, value: float | str | None) -> str:
    """Return a figure in the unit of its metric, "—" where there is none."""
    return phrases.figure(metric, number(value))


def interval(metric: str, ends: Sequence[float | str | None] | None) -> str:
    """Return ``"13.9 ms to 14.6 ms"``, or "too few requests" where they support none."""
    if ends is None:
        return "too few requests"
    low, high = (figure(metric, end) for end in ends)
    return f"{low} to {high}"


def is_comparison(check: Record) -> bool:
    """Return True for a check against a reference, False for one against a limit."""
    return "ratio" in check


def change(check: Record) -> str:
    """Return how much a compared metric changed, with its interval: in percent, or in times where that misleads."""
    low, high = (number(end) for end in check["interval"])
    difference = number(check.get("candidate")) - number(check.get("reference"))
    return phrases.change(check["metric"], number(check["ratio"]), low, high, difference=difference)


def in_words(verdict: Record) -> str:
    """Return what decided a verdict, with its figures; "" where nothing was checked."""
    decisive = [check for check in verdict["checks"] if check["outcome"] == verdict["outcome"]]
    return ", ".join(
        f"{check['metric']} {change(check)}"
        if is_comparison(check)
        else f"{check['metric']} {figure(check['metric'], check['estimate'])} ({limit(check)})"
        for check in decisive
    )


def limit(check: Record) -> str:
    """Return what a check was compared with: the margin of a comparison, the limit of an objective."""
    if is_comparison(check):
        return phrases.margin(check["metric"], check["margin"])
    return phrases.bound(check["metric"], number(check["limit"]))
