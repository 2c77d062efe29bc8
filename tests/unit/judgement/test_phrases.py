"""Figures and changes in words."""

from __future__ import annotations

import math

import pytest

from pytest_inferbench.judgement import phrases


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("p95", 0.25, "250 ms"),
        ("error_rate", 0.0042, "0.42%"),
        ("throughput", 39.96, "40.0/s"),
        ("p50", math.nan, "—"),
        ("p50", math.inf, "inf"),
    ],
)
def test_a_figure_is_in_the_unit_of_its_metric(metric: str, value: float, text: str) -> None:
    """Seconds, percent or per second; a dash where there is none."""
    assert phrases.figure(metric, value) == text


@pytest.mark.parametrize(
    ("metric", "ratio", "low", "high", "text"),
    [
        ("p95", 1.05, 1.02, 1.08, "5.0% slower (+2.0% to +8.0%)"),
        ("throughput", 1.05, 1.02, 1.08, "5.0% higher (+2.0% to +8.0%)"),
        ("p95", math.nan, 0.0, math.inf, "unknown"),
        ("p95", math.nan, math.nan, math.nan, "unknown"),
        ("p95", 4.0, 3.0, math.inf, "4 times slower (3 to unbounded)"),
        ("error_rate", math.nan, -math.inf, math.inf, "+1.00% points (unbounded)"),
    ],
)
def test_a_change_never_shows_what_is_no_number(metric: str, ratio: float, low: float, high: float, text: str) -> None:
    """An undefined ratio or end is a word, not "nan" or "-inf%"."""
    assert phrases.change(metric, ratio, low, high, difference=0.01) == text


def test_limits_and_margins() -> None:
    """At most for latencies, at least for throughput; the margin of an error rate is in points."""
    assert phrases.bound("p95", 0.1) == "at most 100 ms"
    assert phrases.bound("throughput", 40) == "at least 40.0/s"
    assert phrases.margin("p95", 0.05) == "margin 5.0%"
    assert phrases.margin("error_rate", 0.01) == "margin 1.0% points"
    assert (phrases.count(1, "pair"), phrases.count(2, "pair")) == ("1 pair", "2 pairs")
