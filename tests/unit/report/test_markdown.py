"""The Markdown report, and the words that it shares with the others."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from pytest_inferbench.judgement.measurement import Measurement, Reference
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.report.annotations import FailedTest, annotation
from pytest_inferbench.report.junit import properties
from pytest_inferbench.report.markdown import markdown
from pytest_inferbench.report.record import measurement_record, verdict_record
from pytest_inferbench.report.wording import MEANINGS, change, figure, headline, interval, number, tone
from tests.unit.examples import SERVICE, measurement, runs


def record(found: Measurement, *, test: str = "t.py::test_x", slo: SLO | None = None) -> dict[str, Any]:
    made = measurement_record(test, found)
    verdicts = [found.meets(slo)] if slo is not None else [found.has_not_regressed(metrics=("p50", "error_rate"))]
    made["verdicts"] = [verdict_record(verdict) for verdict in verdicts]
    return made


def slower() -> dict[str, Any]:
    reference = Reference(label="profile baseline", runs=runs(), differences=("torch 2.12 -> 2.13",))
    return record(measurement(runs=runs(factor=1.3), reference=reference))


def test_the_gravest_outcome_leads_and_the_others_are_counted() -> None:
    """A reader of the first line alone knows whether there is anything to do."""
    fine = record(measurement(), slo=SLO(p95="10s"))
    assert headline([fine, slower(), fine]) == "REGRESSED: 1 of 3 verdicts; 2 MET"
    assert headline([fine]) == "MET: 1 of 1 verdict"
    assert headline([]) == "nothing was judged"
    assert markdown([fine, slower()]).startswith("## inferbench: REGRESSED: 1 of 2 verdicts; 1 MET\n")


def test_a_row_has_both_sides_the_change_the_margin_and_n() -> None:
    """Nobody has to unfold anything to see by how much, how sure, and of how many."""
    rows = [line for line in markdown([slower()]).splitlines() if line.startswith("| **REGRESSED**")]
    assert len(rows) == 1
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert cells[1:4] == ["test\\_x", "optimized", "p50"]
    assert " → " in cells[4]
    assert cells[5].startswith("29.4% slower (")
    assert cells[6] == "margin 5.0%, profile baseline"
    assert cells[7] == "5 pairs of runs"


def test_what_several_profiles_bring_stands_side_by_side() -> None:
    """A row per workload and metric, a column per profile, each a ratio with its interval, and how it was measured."""
    same = Reference(label="profile baseline", runs=runs(factor=1.001))
    found = [
        replace(measurement(runs=runs(factor=factor), reference=same), profile=name)
        for name, factor in (("runtime", 0.5), ("of_mine", 0.9))
    ]
    lines = markdown([record(one) for one in found]).splitlines()
    (start,) = [k for k, line in enumerate(lines) if line.startswith("Effect of each profile")]
    assert lines[start].endswith("relative to profile baseline (ratios, measured interleaved):")
    assert lines[start + 2] == "|  | runtime | of\\_mine |"
    name, *cells = (cell.strip() for cell in lines[start + 4].strip("|").split("|"))
    assert name == "steady p50"
    assert [float(cell.split()[0]) for cell in cells] == pytest.approx([0.5, 0.9], rel=0.02)
    assert all("(" in cell for cell in cells)
    assert "Effect of each profile" not in markdown([record(found[0])])


def test_every_table_is_rectangular_whatever_the_names_hold() -> None:
    """Bars, backticks, tags and line breaks in names and messages neither break a table nor become markup."""
    nasty = record(measurement(findings=(SERVICE,)), test="t.py::test_x[a|b`c\n<img src=x>*]", slo=SLO(p95="10s"))
    text = markdown([nasty])
    assert "<img" not in text.replace("\\<img", "")
    widths = [line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")]
    assert widths
    assert widths == [widths[0]] * 3 + [widths[-1]] * (len(widths) - 3)


def test_what_github_would_refuse_is_left_out_and_said() -> None:
    """A step summary may have 1 MiB: the folded parts go first, the table stays."""
    text = markdown([slower()] * 3000)
    assert len(text.encode()) < 2**20
    assert "The figures are omitted" in text
    assert text.startswith("## inferbench: REGRESSED: 3000 of 3000 verdicts")


def test_where_it_was_measured_and_what_differs_is_told() -> None:
    """Machine, versions and the differences to the reference are in the document."""
    text = markdown([slower()])
    assert "CPU x, 2 CPUs" in text
    assert "torch 2.12 -\\> 2.13" in text


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("p50", 0.0123, "12.3 ms"),
        ("p95", "inf", "inf"),
        ("error_rate", 0.02, "2.0%"),
        ("throughput", 40, "40.0/s"),
        ("p99", None, "—"),
    ],
)
def test_a_figure_has_the_unit_of_its_metric(metric: str, value: float | str | None, shown: str) -> None:
    """Seconds, fractions and rates are shown as such; no figure is a dash."""
    assert figure(metric, value) == shown


def test_no_interval_is_not_an_interval_without_ends() -> None:
    """An interval that the requests do not support is said not to be claimed."""
    assert interval("p99", None) == "too few requests"
    assert interval("p50", [0.01, "inf"]) == "10.0 ms to inf"
    assert math.isnan(number(None))


@pytest.mark.parametrize(
    ("ratio", "ends", "shown"),
    [
        (1.04, (1.01, 1.07), "4.0% slower (+1.0% to +7.0%)"),
        (0.98, (0.97, 0.99), "2.0% faster (-3.0% to -1.0%)"),
        (1.0001, (0.99, 1.01), "unchanged (-1.0% to +1.0%)"),
        (0.2, (0.19, 0.21), "5 times faster (4.76 to 5.26)"),
        ("inf", (0, "inf"), "unknown"),
        ("inf", (1.5, "inf"), "infinitely slower (1.5 to unbounded)"),
        ("inf", ("inf", "inf"), "now among the failed requests"),
        (0.0, (0.0, 0.0), "no longer among the failed requests"),
    ],
)
def test_a_change_is_in_percent_unless_it_is_a_multiple(ratio: Any, ends: Any, shown: str) -> None:
    """Small changes read as percents, large ones as factors, none as infinity percent."""
    assert change({"metric": "p50", "ratio": ratio, "interval": ends}) == shown


def test_every_outcome_has_a_meaning_and_a_tone() -> None:
    """No outcome of the contract is without words."""
    assert set(MEANINGS) == {str(outcome) for outcome in Outcome}
    assert {tone(str(outcome)) for outcome in Outcome} == {"good", "bad", "unclear"}


def test_an_annotation_escapes_what_ends_a_command() -> None:
    """Line breaks and percents of the message, and colons and commas of a property, arrive as they are."""
    failure = FailedTest(
        test="test_x[a,b:c]", path=PurePosixPath("/repo/sub/t.py"), line=7, message="REGRESSED: 5%\nmore, or less"
    )
    assert annotation(failure, workspace=PurePosixPath("/repo")) == (
        "::error file=sub/t.py,line=7,title=inferbench%3A test_x[a%2Cb%3Ac]::REGRESSED: 5%25%0Amore, or less"
    )
    assert "file=/repo/sub/t.py," in annotation(failure, workspace=None)
    assert "file=/repo/sub/t.py," in annotation(failure, workspace=PurePosixPath("/elsewhere"))


def test_properties_of_two_measurements_of_one_test_have_names_of_their_own() -> None:
    """The second measurement of a workload, and the second verdict of a kind, are numbered."""
    twice = slower()
    twice["verdicts"] *= 2
    found = list(properties([twice, slower()]))
    names = [name for name, _ in found]
    assert len(names) == len(set(names))
    assert "inferbench.steady.optimized#2.p50" in names
    assert dict(found)["inferbench.steady.optimized.regression#2"] == "REGRESSED"


def test_the_level_of_the_intervals_is_stated_once() -> None:
    """The document states the level that follows from alpha, also where the folded parts are omitted."""
    assert markdown([slower(), slower()], alpha=0.01).count("Intervals are two-sided at 98 %") == 1
    assert "Intervals are two-sided at 90 %" in markdown([slower()] * 3000)
    assert "Intervals" not in markdown([])
