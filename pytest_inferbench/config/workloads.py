"""A workload as the configuration writes it: ``[workloads.NAME]``, checked when it is read, made when it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_inferbench.config.profile import did_you_mean
from pytest_inferbench.config.warmup_plan import read_warm_up
from pytest_inferbench.errors import ConfigurationError
from pytest_inferbench.units import parse_rate, parse_seconds

if TYPE_CHECKING:
    from pytest_inferbench.workload.arrivals import ArrivalProcess

__all__ = ["is_renewal", "make_process", "read_workload"]


def _number(value: Any, *, what: str) -> float:
    if isinstance(value, str):
        raise ConfigurationError(f"{what}: expected a number, got {value!r}")
    return parse_rate(value, what=what)


def _rate_or_pause(value: Any, *, what: str) -> float:
    return 0.0 if value in (0, "0/s") else parse_rate(value, what=what)


def _rates(value: Any, *, what: str) -> tuple[float, ...]:
    if not isinstance(value, list) or not value:
        raise ConfigurationError(f'{what}: expected a list such as ["5/s", "20/s", "5/s"], got {value!r}')
    return tuple(_rate_or_pause(rate, what=what) for rate in value)


def _text(value: Any, *, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{what}: expected text, got {value!r}")
    return value


def _whole(value: Any, *, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{what}: expected a whole number above zero, got {value!r}")
    return value


def _start(value: Any, *, what: str) -> float:
    return 0.0 if value == 0 else parse_seconds(value, what=what)


#: What goes with any process.
_ALWAYS = ("process", "duration", "warmup")
#: The keys of each kind of process beside those.
_KINDS: Mapping[str, tuple[str, ...]] = {
    "poisson": ("rate",),
    "gamma": ("rate", "cv"),
    "constant": ("rate",),
    "ramp": ("from", "to", "cv"),
    "steps": ("rates", "cv"),
    "replay": ("trace", "timestamp", "size", "start", "time_scale", "rate_scale"),
    "closed loop": ("concurrency", "requests"),
}
_PARSERS: Mapping[str, Callable[..., Any]] = {
    "process": _text,
    "duration": parse_seconds,
    "warmup": read_warm_up,
    "rate": parse_rate,
    "cv": _number,
    "from": _rate_or_pause,
    "to": _rate_or_pause,
    "rates": _rates,
    "trace": _text,
    "timestamp": _text,
    "size": _text,
    "start": _start,
    "time_scale": _number,
    "rate_scale": _number,
    "concurrency": _whole,
    "requests": _whole,
}


def read_workload(table: Mapping[str, object], where: str) -> dict[str, Any]:
    """Return the table with its quantities read; rates per second, times in seconds.

    ``process`` may be left out where another key gives it away. Raises ConfigurationError (or ValidationError)
    naming ``where`` and the key for what cannot be read, and for keys that do not go together.
    """
    for key, value in table.items():
        if key not in _PARSERS:
            raise ConfigurationError(f"{where}: unknown key {key!r}{did_you_mean(key, _PARSERS)}")
        if key not in ("rates", "warmup") and not isinstance(value, int | float | str):
            raise ConfigurationError(f"{where}.{key}: expected a number, got {value!r}")
    read = {key: _PARSERS[key](value, what=f"{where}.{key}") for key, value in table.items()}
    kind = _kind(read)
    if kind not in _KINDS:
        raise ConfigurationError(f"{where}.process: unknown process {kind!r}{did_you_mean(kind, _KINDS)}")
    for key in read:
        if key not in (*_ALWAYS, *_KINDS[kind]):
            raise ConfigurationError(
                f"{where}.{key}: does not go with a {kind} process, which takes "
                f"{', '.join((*_KINDS[kind], 'duration', 'warmup'))}"
            )
    needed = {"ramp": ("from", "to"), "steps": ("rates",), "replay": ("trace",), "closed loop": _KINDS["closed loop"]}
    for key in needed.get(kind, ()):
        if key not in read:
            raise ConfigurationError(f"{where}: a {kind} process needs {key!r}")
    return read


def is_renewal(table: Mapping[str, object]) -> bool:
    """Return True if the table describes a process of one rate, for which there are defaults."""
    return _kind(table) in ("poisson", "gamma", "constant")


def make_process(table: Mapping[str, Any], root: Path) -> ArrivalProcess:
    """Return the arrival process of a table that :func:`read_workload` read; a trace's path is relative to ``root``."""
    from pytest_inferbench.workload.arrivals import ClosedLoop, Constant, Gamma, Poisson
    from pytest_inferbench.workload.varying import Ramp, Steps

    match _kind(table):
        case "ramp":
            return Ramp(table["from"], table["to"], table.get("cv", 1.0))
        case "steps":
            return Steps(table["rates"], table.get("cv", 1.0))
        case "replay":
            from pytest_inferbench.workload.trace import read_trace

            trace = read_trace(root / table["trace"], timestamp=table.get("timestamp"), size=table.get("size"))
            started = trace.window(table.get("start", 0.0))
            return started.scaled(time=table.get("time_scale", 1.0), rate=table.get("rate_scale", 1.0))
        case "closed loop":
            return ClosedLoop(table["concurrency"], table["requests"])
        case "constant":
            return Constant(table["rate"])
        case "poisson":
            return Poisson(table["rate"])
        case _:
            return Poisson(table["rate"]) if table["cv"] == 1 else Gamma(table["rate"], table["cv"])


def _kind(table: Mapping[str, object]) -> str:
    """Return the kind of process: the one named, or else the one that a key gives away."""
    named = table.get("process")
    if named is not None:
        return str(named).replace("-", " ")
    for kind in ("ramp", "steps", "replay", "closed loop"):
        if any(key in table for key in _KINDS[kind] if key != "cv"):
            return kind
    return "gamma"
