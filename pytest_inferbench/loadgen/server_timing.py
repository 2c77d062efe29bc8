"""The ``Server-Timing`` response header (W3C Server Timing, section 3), parsed."""

from __future__ import annotations

import re

__all__ = ["parse_server_timing"]

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_METRIC = re.compile(rf"\s*({_TOKEN})\s*((?:;\s*(?:{_TOKEN}\s*(?:=\s*(?:{_TOKEN}|\"(?:[^\"\\]|\\.)*\")\s*)?)?)*)")
_PARAMETER = re.compile(rf";\s*({_TOKEN})\s*=\s*(?:({_TOKEN})|\"((?:[^\"\\]|\\.)*)\")")
_SKIP = re.compile(r"(?:[^,\"]|\"(?:[^\"\\]|\\.)*\"?)*")


def parse_server_timing(header: str) -> dict[str, float]:
    """Return each metric's value: ``dur`` in milliseconds, or else a ``desc`` that is a number (``batch;desc="8"``).

    A metric without either says only that something happened; it has no value and is left out. Durations of a
    metric that is named twice add up. What does not parse is skipped up to the next comma: a header that a service
    garbles must not cost the request.
    """
    values: dict[str, float] = {}
    position = 0
    while position < len(header):
        match = _METRIC.match(header, position)
        if match:
            _take(values, match[1], match[2])
            position = match.end()
        skipped = _SKIP.match(header, position)
        position = (skipped.end() if skipped else position) + 1
    return values


def _take(values: dict[str, float], name: str, parameters: str) -> None:
    duration = description = None
    for parameter in _PARAMETER.finditer(parameters):
        key = parameter[1].lower()
        # As the standard has it, the first occurrence of a parameter counts.
        if key == "dur" and duration is None:
            duration = _number(parameter)
        elif key == "desc" and description is None:
            description = _number(parameter)
    if duration is not None:
        values[name] = values.get(name, 0.0) + duration
    elif description is not None:
        values[name] = description


def _number(parameter: re.Match[str]) -> float | None:
    text = parameter[2] if parameter[2] is not None else parameter[3]
    try:
        return float(text)
    except ValueError:
        return None
