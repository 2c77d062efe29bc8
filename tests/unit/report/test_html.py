"""The HTML report of measurements that tests make up: whatever was measured, there is a page."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from pytest_inferbench.judgement.measurement import Measurement, Reference
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.report.figure import COLOURS, cut, short_seconds
from pytest_inferbench.report.html import html
from pytest_inferbench.report.latencies import raw_run, without_raw
from pytest_inferbench.report.record import measurement_record, verdict_record
from tests.unit.examples import INVALID, SERVICE, SETTINGS, measurement, run, runs

VOID = {"meta", "link", "br", "path", "use", "rect", "line"}


def record(found: Measurement, **changes: Any) -> dict[str, Any]:
    made = measurement_record("t.py::test_x", found, raw=True)
    made["verdicts"] = [verdict_record(v) for v in (found.meets(SLO(p95="100ms")), found.has_not_regressed())]
    return {**made, **changes}


def compared(**changes: Any) -> Measurement:
    reference = Reference(label="profile baseline", runs=runs(), differences=("torch 2.12 -> 2.13",))
    return measurement(**{"runs": runs(factor=1.3), "reference": reference, **changes})


class Balanced(HTMLParser):
    """Fails for a tag that is closed without having been opened, or the reverse."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize(
    "found",
    [
        measurement(),
        compared(),
        compared(findings=(INVALID, SERVICE)),
        measurement(runs=runs(2, failed=300)),
        measurement(runs=runs(1, n=3)),
        measurement(runs=(run(failed=400), run(seed=1))),
        measurement(runs=(run(issued_ns=np.full(400, -1), completed_ns=np.full(400, -1), failed=400),)),
        compared(runs=runs(failed=400)),
        compared(runs=runs(1)),
        compared(runs=runs(factor=40)),
    ],
    ids=["plain", "compared", "findings", "failures", "tiny", "dead", "unissued", "infinite", "one-pair", "huge"],
)
def test_every_measurement_makes_a_page(found: Measurement) -> None:
    """Infinite, missing and enormous figures neither break the page nor a plot: it is well-formed."""
    made = record(found)
    page = html([made], settings=SETTINGS)
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    for verdict in made["verdicts"]:
        assert verdict["outcome"] in page


def test_what_belongs_to_one_measurement_is_not_taken_for_anothers() -> None:
    """On a page with the same measurement twice every id, to which clips and links refer, is there once."""
    parser = Balanced()
    parser.feed(html([record(compared())] * 2, settings=SETTINGS))
    assert len(parser.ids) > 20
    assert len(set(parser.ids)) == len(parser.ids)


def test_what_was_not_kept_request_by_request_is_not_drawn() -> None:
    """Without the requests there is no distribution; what the figures alone support is still drawn."""
    page = html(without_raw([record(compared())]), settings=SETTINGS)
    assert "Percentiles with their intervals" in page
    assert "Each pair of runs against the margin" in page
    assert "<h3>Distribution</h3>" not in page


def test_the_same_figures_make_the_same_page() -> None:
    """Two pages of one result differ in nothing but the time of making: a difference in a file is one in the result."""
    first, second = (
        re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", html([record(compared())], settings=SETTINGS)) for _ in "ab"
    )
    assert first == second


def test_several_profiles_against_one_reference_make_a_table_of_what_each_brings() -> None:
    """A column per profile, a row per workload and metric, each ratio with its interval and outcome."""
    same = Reference(label="profile baseline", runs=runs(factor=1.001))
    profiles = (("runtime", 0.5), ("service", 1.3))
    found = [record(compared(reference=same, profile=name, runs=runs(factor=factor))) for name, factor in profiles]
    page = html(found, settings=SETTINGS)
    table = page[page.index("Effect of each profile relative to profile baseline") :]
    assert re.findall(r'scope="col">(runtime|service)</th>', table) == ["runtime", "service"]
    row = re.search(r'scope="row">steady p50</th>(.*?)</tr>', table, re.DOTALL)
    assert row is not None
    assert re.findall(r">([A-Z]+)</span>", row[1]) == ["IMPROVED", "REGRESSED"]
    assert "Effect of each profile" not in html(found[:1], settings=SETTINGS)


def test_what_was_done_on_purpose_stands_with_what_it_cost() -> None:
    """A row per disruption and run: when it began, how long it lasted, and what the run lost by it."""
    made = record(measurement(runs=runs(2)))
    event = {"run": 1, "kind": "Freeze", "planned": 2.0, "began": 2.01, "ended": 3.01, "duration": 1.0}
    made["disruptions"] = [{**event, "detail": "SIGSTOP to pid 7", "parameters": {}}]
    cost = {"requests": 400, "failed": 3, "outage": 1.02, "recovery": 1.5, "lost": 27, "slo": {"p95": 0.1}}
    made["impacts"] = [{"run": 0, **cost}, {"run": 1, **cost}]
    page = html([made], settings=SETTINGS)
    row = re.search(r'scope="row">Run 2</th>(.*?)</tr>', page, re.DOTALL)
    assert row is not None
    cells = re.findall(r"<span>(.*?)</span>", row[1])
    assert cells == ["Freeze (SIGSTOP to pid 7)", "2.01 s", "1.00 s", "3 of 400", "1.02 s", "1.50 s", "27"]


def test_an_objective_has_no_column_for_a_change() -> None:
    """Only comparisons speak of a change."""
    page = html([record(measurement())], settings=SETTINGS)
    assert "Limit or margin" in page
    assert ">Change<" not in page


def test_the_command_to_reproduce_it_is_whole() -> None:
    """Whoever runs it gets the same arrivals: every option that shaped the session is in it."""
    page = html([record(compared())], settings={**SETTINGS, "against": "baseline", "budget": 90.0})
    (command,) = re.findall(r'<pre class="wrap">(.*?)</pre>', page)
    for words in ("--profile optimized", "--against baseline", "duration=10", "budget=90", "repeats=5", "seed=0"):
        assert words in command


def test_all_colours_are_those_of_the_page() -> None:
    """No plot has a colour of its own, which would not follow light and dark."""
    page = html([record(compared())], settings=SETTINGS)
    plots = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert re.findall(r"#[0-9a-f]{6}\b", plots) == []
    assert set(re.findall(r"var\(--([a-z0-9-]+)\)", plots)) <= set(COLOURS)


def test_names_cannot_become_markup() -> None:
    """A test or label that holds tags or quotes is shown as text, in the page and in the descriptions of plots."""
    nasty = '<img src=x onerror="alert(1)">'
    made = record(compared(), test=f"t.py::test_x[{nasty}]")
    made["reference"]["label"] = nasty
    assert "<img" not in html([made], settings=SETTINGS)


def test_a_session_of_a_usual_size_stays_below_two_megabytes() -> None:
    """Three workloads under four profiles, five runs of 400 requests on both sides."""
    one, two = (len(html([record(compared())] * count, settings=SETTINGS).encode()) for count in (1, 2))
    assert one + 11 * (two - one) < 2_000_000


def test_a_long_run_is_thinned_out_and_says_so() -> None:
    """A plot holds no more dots than eyes can tell apart; the page says which are drawn, and of how many."""
    long = run(n=8_000)
    page = html([record(measurement(runs=(long,)))], settings=SETTINGS)
    assert "n = 8000 requests on each system shown" in page
    assert "Every 6th request is drawn." in page
    assert len(page.encode()) < 400_000


def test_a_run_request_by_request_says_what_failed_and_how() -> None:
    """Due times count from the first request, an unfinished one has no latency, and failures are listed by cause."""
    completed = np.arange(4, dtype=np.int64) * 25_000_000 + 5_000_400
    completed[2] = -1
    made = raw_run(run(n=4, completed_ns=completed, failed=1, scheduled_ns=np.arange(4, dtype=np.int64) * 25_000_000))
    assert made == {
        "due_us": [0, 25_000, 50_000, 75_000],
        "latency_us": [5000, 5000, None, 5000],
        "failed": {"reset": [3]},
    }


def test_leaving_the_requests_out_changes_nothing_else() -> None:
    """The records without requests are those that a session makes which keeps none."""
    found = compared()
    kept, bare = measurement_record("t", found, raw=True), measurement_record("t", found)
    assert without_raw([kept]) == [bare]
    assert "raw" in kept["runs"][0], "the original is left as it was"


@pytest.mark.parametrize(("value", "shown"), [(2.5, "2.5 s"), (0.02, "20 ms"), (5e-5, "50 µs")])
def test_ticks_have_the_unit_that_people_read(value: float, shown: str) -> None:
    """Seconds, milliseconds, microseconds."""
    assert short_seconds(value) == shown


def test_long_names_are_cut_visibly() -> None:
    """A name that was cut ends in an ellipsis."""
    assert cut("x" * 30, 10) == "x" * 9 + "…"
    assert cut("short") == "short"


def test_resources_are_told_where_they_were_measured() -> None:
    """CPU time per request, memory and the generator's own share stand with the figures."""
    from pytest_inferbench.runs.usage import GeneratorUsage, Resources, ServiceUsage

    used = Resources(
        service=ServiceUsage(cpu_seconds=4.0, peak_rss_bytes=2**30, processes=2, context_switches=9),
        generator=GeneratorUsage(cpu_seconds=0.5, context_switches=3),
    )
    page = html([record(measurement(runs=tuple(replace(one, resources=used) for one in runs(2))))], settings=SETTINGS)
    assert "service 10.0 ms of CPU per request, at most 1024 MiB; load generator 1.00 s of CPU in 2 runs" in page


def test_the_level_of_the_intervals_is_stated_once() -> None:
    """The page states the level that follows from alpha."""
    page = html([record(compared())] * 2, settings={**SETTINGS, "alpha": 0.01})
    assert page.count("Intervals are two-sided at 98 % (1 − 2·alpha).") == 1
