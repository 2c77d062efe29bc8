"""Quantities as people write them: ``"250ms"``, ``"0.1%"``, ``"40/s"``."""

from __future__ import annotations

import math
import re

from pytest_inferbench.errors import ValidationError

__all__ = ["format_fraction", "format_seconds", "parse_fraction", "parse_rate", "parse_seconds"]

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_PER_SECOND = {"/s": 1.0, "/min": 1 / 60.0}
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\D*?)\s*")


def _parse(value: float | int | str, what: str, units: dict[str, float], bare: float) -> float:
    if isinstance(value, bool):
        raise ValidationError(f"{what}: expected a quantity such as {_examples(units)}, got {value!r}")
    if isinstance(value, int | float):
        number = float(value) * bare
    else:
        match = _NUMBER.fullmatch(value)
        if match is None or (match[2] and match[2] not in units):
            raise ValidationError(f"{what}: cannot read {value!r}; write it as {_examples(units)}")
        number = float(match[1]) * (units[match[2]] if match[2] else bare)
    if not math.isfinite(number):
        raise ValidationError(f"{what}: must be finite, got {value!r}")
    return number


def _examples(units: dict[str, float]) -> str:
    first = {"ms": '"250ms", "1.5s"', "%": '"0.1%"', "/s": '"40/s"'}
    return next(text for unit, text in first.items() if unit in units) + " or a plain number"


def parse_seconds(value: float | int | str, *, what: str) -> float:
    """Return seconds from ``"250ms"``, ``"1.5s"``, ``"2min"`` or a plain number of seconds; must be positive."""
    seconds = _parse(value, what, _SECONDS, 1.0)
    if seconds <= 0:
        raise ValidationError(f"{what}: must be greater than zero, got {value!r}")
    return seconds


def parse_fraction(value: float | int | str, *, what: str) -> float:
    """Return a fraction in [0, 1] from ``"0.1%"`` or a plain fraction."""
    fraction = _parse(value, what, {"%": 0.01}, 1.0)
    if not 0 <= fraction <= 1:
        raise ValidationError(f'{what}: must lie between 0 and 1 (or "0%" and "100%"), got {value!r}')
    return fraction


def parse_rate(value: float | int | str, *, what: str) -> float:
    """Return a rate per second from ``"40/s"``, ``"90/min"`` or a plain number; must be positive."""
    rate = _parse(value, what, _PER_SECOND, 1.0)
    if rate <= 0:
        raise ValidationError(f"{what}: must be greater than zero, got {value!r}")
    return rate


def format_fraction(fraction: float) -> str:
    """Return a fraction in percent: ``"0.42%"``, ``"12.3%"``, ``"140%"``, ``"inf"``."""
    if not math.isfinite(fraction):
        return "inf" if fraction > 0 else "—"
    percent = 100 * fraction
    return f"{percent:.{0 if abs(percent) >= 99.95 else 1 if abs(percent) >= 0.995 else 2}f}%"


def format_seconds(seconds: float) -> str:
    """Return a duration in the unit a reader expects: ``"840 µs"``, ``"12.3 ms"``, ``"1.20 s"``, ``"inf"``."""
    if math.isinf(seconds):
        return "inf"
    if math.isnan(seconds):
        return "—"
    # 0.9995 keeps 999.7 ms from being shown as "1000 ms".
    units = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
    scale, unit = next((u for u in units if abs(seconds) >= 0.9995 * u[0]), units[-1])
    value = seconds / scale
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"
