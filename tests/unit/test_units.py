"""Quantities as people write them."""

from __future__ import annotations

import math

import pytest

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.units import format_seconds, parse_fraction, parse_rate, parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("1.5s", 1.5),
        (" 2 min ", 120),
        ("1h", 3600),
        ("40us", 40e-6),
        ("40µs", 40e-6),
        ("7ns", 7e-9),
        ("1e-3s", 1e-3),
        (".5", 0.5),
        ("3", 3),
        (0.25, 0.25),
        (2, 2),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    """Every unit, blanks around it, and plain numbers are read as seconds."""
    assert parse_seconds(text, what="x") == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_fraction, "0.1%", 0.001),
        (parse_fraction, "100%", 1),
        (parse_fraction, 0, 0),
        (parse_fraction, "0.5", 0.5),
        (parse_rate, "40/s", 40),
        (parse_rate, "90/min", 1.5),
        (parse_rate, "2.5", 2.5),
        (parse_rate, 7, 7),
    ],
)
def test_fractions_and_rates(parse, text: str | float, value: float) -> None:
    """Percentages and rates are read in their units and as plain numbers."""
    assert parse(text, what="x") == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("parse", [parse_seconds, parse_rate])
@pytest.mark.parametrize(
    "value", [0, -1, "0", "-3", math.nan, math.inf, -math.inf, True, "", "fast", "5 apples", "nan"]
)
def test_what_is_no_positive_quantity_is_named(parse, value: object) -> None:
    """Zero, negative, not finite, boolean and unreadable values are refused, naming what and the value."""
    with pytest.raises(ValidationError, match="workloads, own") as caught:
        parse(value, what="workloads, own")
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [-0.1, 1.1, "101%", "-1%", math.nan, "5ms", False])
def test_what_is_no_fraction_is_named(value: object) -> None:
    """A fraction lies in [0, 1], however it is written."""
    with pytest.raises(ValidationError, match="alpha"):
        parse_fraction(value, what="alpha")  # type: ignore[arg-type]


def test_units_do_not_mix() -> None:
    """A rate is no duration and a duration no rate; the message shows how to write it."""
    with pytest.raises(ValidationError, match=r'cannot read \'5/s\'; write it as "250ms"'):
        parse_seconds("5/s", what="x")
    with pytest.raises(ValidationError, match=r'cannot read \'5ms\'; write it as "40/s"'):
        parse_rate("5ms", what="x")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 µs"),
        (840e-6, "840 µs"),
        (12.34e-3, "12.3 ms"),
        (1.2, "1.20 s"),
        (0.9997, "1.00 s"),
        (0.9994, "999 ms"),
        (99.96e-3, "100 ms"),
        (9.996e-3, "10.0 ms"),
        (123.4, "123 s"),
        (-0.002, "-2.00 ms"),
        (math.inf, "inf"),
        (math.nan, "—"),
    ],
)
def test_durations_are_shown_in_three_digits(seconds: float, text: str) -> None:
    """Three significant digits in the unit that a reader expects, also where rounding reaches the next one."""
    assert format_seconds(seconds) == text
