"""The summary at the end of a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_inferbench.judgement.measurement import Measurement, Reference
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.report.record import measurement_record, verdict_record
from pytest_inferbench.report.terminal import Line, summary
from tests.unit.examples import ENVIRONMENT, INVALID, SERVICE, STEADY, measurement, runs

LONG = "parametrized_with_everything_that_was_at_hand_" * 4


def record(found: Measurement, *verdicts: Any) -> dict[str, Any]:
    made = measurement_record("t.py::test_x", found)
    made["verdicts"] = [verdict_record(verdict) for verdict in verdicts]
    return made


def compared(factor: float = 1.3, **changes: Any) -> Measurement:
    reference = Reference(label="baseline 2026-01-02", runs=runs(factor=1.001))
    return measurement(**{"runs": runs(factor=factor), "reference": reference, **changes})


def text(line: Line) -> str:
    return "".join(span.text for span in line)


def lines(records: Sequence[dict[str, Any]]) -> list[str]:
    return [text(line) for line in summary(records)]


def styles(records: Sequence[dict[str, Any]], word: str) -> set[str]:
    """The styles of all spans that hold ``word``."""
    return {span.style for line in summary(records) for span in line if word in span.text}


def test_figures_stand_with_their_intervals_and_n() -> None:
    """A row of estimates with the number of requests and failures, under it the intervals and the number of runs."""
    shown = lines([record(measurement(runs=runs(5, failed=4)))])
    row = next(index for index, line in enumerate(shown) if line.startswith("steady "))
    name, n, failed, *figures = shown[row].split()
    assert (name, n, failed) == ("steady", "2000", "20")
    assert figures[1] == figures[3] == "ms"
    assert 50 < float(figures[0]) < 60
    assert shown[row + 1].strip().startswith("5 runs")
    low, high = shown[row + 1].split()[2].split("-")
    assert float(low) < float(figures[0]) < float(high)


def test_a_percentile_that_is_not_claimed_is_a_dash() -> None:
    """Too few requests for a p99: no interval is shown for it."""
    shown = lines([record(measurement(runs=runs(1, n=100)))])
    assert next(line for line in shown if "1 run" in line).endswith("—")


def test_failures_are_red_and_their_absence_is_not() -> None:
    """Failed requests catch the eye; a zero does not."""
    assert styles([record(measurement(runs=runs(5, failed=3)))], f"{15:>7}") == {"red"}
    assert "red" not in styles([record(measurement())], f"{0:>7}")


def test_each_profile_has_one_table_in_the_order_of_measuring() -> None:
    """Measurements of two profiles that came in turns are shown in two tables."""
    a, b = record(measurement(profile="zeta")), record(measurement(profile="alpha"))
    shown = lines([a, b, a])
    assert [line.split()[1] for line in shown if line.startswith("profile ")] == ["zeta", "alpha"]
    assert sum(line.startswith("steady ") for line in shown) == 3
    assert "CPU x, 2 CPUs, 7.8 GiB" in shown[0]


def test_both_sides_and_every_comparison_are_shown() -> None:
    """What a test asserted comes first, what it did not is marked so, and nothing is shown twice."""
    found = compared()
    shown = lines([record(found, found.has_not_regressed(metrics=["p50"]))])
    assert sum("vs baseline 2026-01-02" in line for line in shown) == 1
    asserted = next(line for line in shown if line.startswith("  regression"))
    assert "REGRESSED" in asserted
    assert " p50 " in asserted
    assert asserted.endswith("5 pairs")
    rest = shown[shown.index(asserted) + 1 : shown.index(asserted) + 4]
    assert rest[0].startswith("  (not asserted)")
    assert [line.removeprefix("  (not asserted)").split()[1] for line in rest] == ["p95", "throughput", "error_rate"]
    assert not any(line.startswith("  compared") for line in shown)


def test_a_comparison_that_nobody_asserted_is_shown_as_such() -> None:
    """Under --against the figures are of interest even where the test asks nothing of them."""
    shown = lines([record(compared())])
    assert any(line.startswith("  compared") and "REGRESSED" in line for line in shown)
    assert shown[-1] == "no test asserted anything about the measurements"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_its_colour(outcome: Outcome) -> None:
    """Green is what may be relied on, red what failed, yellow what was not decided; no outcome goes without."""
    verdict = verdict_record(replace(measurement().has_not_regressed(), outcome=outcome))
    colours = styles([{**record(measurement()), "verdicts": [verdict]}], outcome.name)
    good, bad = {"PASS", "IMPROVED", "MET"}, {"REGRESSED", "MISSED", "INVALID"}
    assert colours == {"green" if outcome.name in good else "red" if outcome.name in bad else "yellow"}


def test_a_verdict_without_figures_shows_its_reason() -> None:
    """NO_BASELINE says why there is nothing to compare with."""
    found = measurement()
    shown = lines([record(found, found.has_not_regressed())])
    assert any("NO_BASELINE" in line and "no baseline of t.py::test_x; record one" in line for line in shown)


def test_findings_are_shown_by_their_rule() -> None:
    """What voids a run is red, what the service did is yellow."""
    records = [record(measurement(findings=(INVALID, SERVICE)))]
    assert styles(records, "issue-delay: ") == {"red"}
    assert styles(records, "died: ") == {"yellow"}
    assert any("it left 80 ms late" in line for line in lines(records))


def test_findings_of_one_rule_are_shown_once() -> None:
    """Five saturated runs are one line that says so, not five."""
    found = measurement(findings=tuple(replace(SERVICE, message=f"run {k} (x): slow") for k in range(1, 6)))
    (line,) = [line for line in lines([record(found)]) if "died: " in line]
    assert line.endswith("run 1 (x): slow (and 4 more runs)")


def test_a_service_that_reports_many_parts_is_shown_whole() -> None:
    """The parts of the latency take as many lines as they need."""
    timing = {f"stage-number-{k}": np.full(400, 1.5) for k in range(9)}
    shown = lines([record(measurement(runs=tuple(replace(one, server_timing=timing) for one in runs(2))))])
    start = next(index for index, line in enumerate(shown) if line.startswith("  mean time in"))
    text_of_parts = " ".join(line.strip() for line in shown[start : start + 4])
    assert all(f"stage-number-{k} 1.50 ms" in text_of_parts for k in range(9))


def test_the_tally_counts_checks_by_outcome() -> None:
    """Every check counts, and a verdict without checks counts as one; the most frequent outcome comes first."""
    met = measurement().meets(SLO(p50="1s", p95="1s", error_rate=1.0))
    missing = measurement().has_not_regressed()
    assert lines([record(measurement(), met), record(measurement(), missing)])[-1] == "4 checks: 3 MET, 1 NO_BASELINE"
    assert lines([record(measurement(), missing)])[-1] == "1 check: 1 NO_BASELINE"


@pytest.mark.parametrize(
    "found",
    [
        measurement(
            profile=LONG,
            workload=replace(STEADY, name=LONG),
            environment=replace(ENVIRONMENT, cpu=LONG),
            findings=(replace(INVALID, message=LONG), replace(SERVICE, message=LONG)),
            no_reference=LONG,
        ),
        compared(runs=runs(factor=90.0)),
        compared(runs=runs(factor=0.0004)),
        compared(runs=runs(failed=400)),
        compared(runs=runs(failed=150)),
        measurement(runs=runs(2, n=2)),
    ],
    ids=["long-names", "slow", "fast", "dead", "failing", "tiny"],
)
def test_nothing_is_wider_than_the_screen(found: Measurement) -> None:
    """Names, findings and figures of any length leave every line within 100 columns."""
    verdicts = (found.meets(SLO(p50="1ms", p99="24h", error_rate="1%", throughput="1/s")), found.has_not_regressed())
    widest = max(lines([record(found, *verdicts)]), key=len)
    assert len(widest) <= 100, widest


def test_nothing_measured_is_one_line() -> None:
    """Without records there is no table to show."""
    assert lines([]) == ["no test asserted anything about the measurements"]


def test_several_profiles_against_one_reference_make_an_ablation() -> None:
    """The effect of each profile is one table: a row per workload and metric, a column per profile."""
    same = Reference(label="profile baseline", runs=runs(factor=1.001))
    pairs = (("runtime", 0.5), ("service", 0.9))
    found = [replace(compared(factor, reference=same), profile=name) for name, factor in pairs]
    shown = lines([record(measurement) for measurement in found])
    start = next(index for index, line in enumerate(shown) if line.startswith("effect of each profile"))
    assert shown[start + 1].split() == ["runtime", "service"]
    row = shown[start + 2]
    assert row.startswith("steady p50")
    ratios = [float(cell.split("(")[0]) for cell in row.removeprefix("steady p50").split(")") if cell.strip()]
    assert ratios == pytest.approx([0.5, 0.9], rel=0.02)
    long = [
        {**made, "workload": {**made["workload"], "name": "a_workload_of_long_name"}} for made in map(record, found)
    ]
    assert any(line.startswith("a_worklo… throughput ") for line in lines(long)), "which metric it is always shows"
    stored = [record(replace(compared(0.5), profile=name)) for name in ("runtime", "service")]
    for alone in ([record(found[0])], stored):
        assert not any(line.startswith("effect of each") for line in lines(alone))


def test_without_a_reference_the_first_profile_is_the_one_that_others_are_held_against() -> None:
    """Profiles measured one after the other make the table too, with their capacities, and it says so."""
    first = replace(compared(1.0), profile="baseline", reference=None)
    others = [replace(compared(factor), profile=name, reference=None) for name, factor in (("a", 0.5), ("b", 0.9))]
    records = [record(first), *(measurement_record("test", other, beside=first) for other in others)]
    found = [
        {
            "test": "t",
            "profile": name,
            "rate": rate,
            "interval": [0.9 * rate, 1.2 * rate],
            "slo": {},
            "boots": [rate],
            "probes": [],
        }
        for name, rate in (("baseline", 10.0), ("b", 40.0))
    ]
    shown = [text(line) for line in summary(records, found)]
    start = next(
        index for index, line in enumerate(shown) if line.startswith("effect of each profile relative to profile ba")
    )
    assert shown[start + 1].startswith("measured sequentially")
    assert shown[start + 2].split() == ["a", "b"]
    assert shown[start + 6].split() == ["capacity", "—", "4", "(3-5.3)"]
    alone = [text(line) for line in summary(records[:1], found)]
    start = next(index for index, line in enumerate(alone) if line.startswith("effect of each profile"))
    assert alone[start + 2].split() == ["b"]
    assert alone[start + 3].split() == ["capacity", "4", "(3-5.3)"], "capacities alone make a table too"
    assert not any(line.startswith("effect of each") for line in map(text, summary(records[:1], found[:1])))


def test_a_capacity_stands_with_its_interval_and_its_slo() -> None:
    """The rate, what it was found under, and how many boots and runs it took."""
    found = {
        "test": "t",
        "profile": "optimized",
        "rate": 61.2,
        "interval": [58.0, 64.5],
        "slo": {"p95": 0.25, "error_rate": 0.01},
        "boots": [60.0, 62.4],
        "probes": [{}] * 9,
    }
    line, _ = [text(line) for line in summary([], [found])]
    assert line == "capacity optimized: 61.2/s (58.0 to 64.5) under p95 250 ms, error_rate 1.0%; 2 boots, 9 runs"


@pytest.mark.parametrize(("alpha", "level"), [(0.05, "90"), (0.01, "98"), (0.025, "95")])
def test_the_level_of_the_intervals_is_stated_once(alpha: float, level: str) -> None:
    """The summary states the level that follows from alpha, once for all measurements and capacities."""
    shown = [text(line) for line in summary([record(compared()), record(measurement())], alpha=alpha)]
    stated = [line for line in shown if line.startswith("Intervals")]
    assert stated == [f"Intervals are two-sided at {level} % (1 − 2·alpha)."]
    assert not any("Intervals" in text(line) for line in summary([], alpha=alpha))


def test_intervals_of_checks_that_share_alpha_are_said_to_be_wider() -> None:
    """Under interim looks a comparison has less than alpha: its interval is not one of the stated level."""
    found = record(compared())
    for check in found["reference"]["comparisons"]:
        check["alpha"] = 0.02
    (stated,) = [line for line in lines([found]) if line.startswith("Intervals")]
    assert stated.endswith("(1 − 2·alpha); wider where interim looks or size classes share alpha.")
