"""How a service is warmed up before each run, as the configuration writes it: ``warmup``."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_inferbench.config.profile import did_you_mean
from pytest_inferbench.errors import ConfigurationError
from pytest_inferbench.units import parse_seconds

__all__ = ["WarmUpPlan", "read_warm_up"]

_KEYS = ("requests", "duration")


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUpPlan:
    """How much warming up is asked for, and what it may cost.

    ``requests``: how many each worker gets, about, before the warm-up may end: more where they are short, or the
    service still gets faster. 0: none at all. ``duration``: seconds after the first answer, after which no further
    request is sent, whatever is missing then; each worker gets four even if these take longer.
    """

    requests: int = 64
    duration: float = 30.0

    @property
    def off(self) -> bool:
        """Whether nothing is sent."""
        return self.requests == 0

    @property
    def together(self) -> int:
        """How many requests each worker gets at once, so that batches and every worker are warmed."""
        return max(2, self.requests // 4)

    @property
    def block(self) -> int:
        """How many requests per worker, at least, are compared with as many of the same before."""
        return max(2, self.requests * 3 // 8)


def read_warm_up(value: object, *, what: str) -> WarmUpPlan:
    """Return the plan that ``warmup`` describes: ``"off"``, a duration, or a table of `requests` and `duration`.

    Raises ConfigurationError (or ValidationError) naming ``what``.
    """
    if value == "off" or value is False:
        return WarmUpPlan(requests=0)
    if isinstance(value, str | int | float) and value is not True:
        return WarmUpPlan(duration=parse_seconds(value, what=what))
    if not isinstance(value, dict):
        raise ConfigurationError(
            f'{what}: expected "off", a duration such as "30s", or a table such as '
            f'{{ requests = 64, duration = "30s" }}, got {value!r}'
        )
    for key in value:
        if key not in _KEYS:
            raise ConfigurationError(f"{what}: unknown key {key!r}{did_you_mean(str(key), _KEYS)}")
    plan = WarmUpPlan()
    requests = value.get("requests", plan.requests)
    if isinstance(requests, bool) or not isinstance(requests, int) or requests < 1:
        raise ConfigurationError(
            f'{what}.requests: expected a whole number above zero (or warmup = "off"), got {requests!r}'
        )
    duration = parse_seconds(value["duration"], what=f"{what}.duration") if "duration" in value else plan.duration
    return WarmUpPlan(requests=requests, duration=duration)
