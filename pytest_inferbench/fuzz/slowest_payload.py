"""The slowest payload: a search for one that cannot be answered in time, which noise neither finds nor hides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pytest_inferbench.errors import ConfigurationError, ValidationError
from pytest_inferbench.units import format_seconds, parse_seconds

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["PayloadTrial", "SlowestPayload", "find_slowest_payload"]

T = TypeVar("T")

#: That many answers in a row come too late by chance once in 256, for a payload whose median is just within.
REPLAYS = 8
#: Replays that noise spoiled are repeated; beyond so many per payload nothing can be said, which is not "too slow".
_SPOILED = 24


@dataclass(frozen=True, slots=True)
class SlowestPayload(Generic[T]):
    """The smallest payload that was always answered later than ``limit``, with every replay (seconds)."""

    payload: T
    latencies: tuple[float, ...]
    limit: float
    tried: int
    sent: int

    def __repr__(self) -> str:
        low, high = format_seconds(min(self.latencies)), format_seconds(max(self.latencies))
        return (
            f"every one of {len(self.latencies)} replays took longer than {format_seconds(self.limit)} ({low} to "
            f"{high}); smallest of {self.tried} payloads tried, {self.sent} requests: {self.payload!r:.300}"
        )


class PayloadTrial(Generic[T]):
    """Says whether a payload is too slow; an answer about a payload stays, so that nothing looks flaky.

    ``measure``: seconds that one request takes, inf for a failure. ``control``: a payload known to be quick. One
    answer within ``limit`` settles it. A late one counts only if the control, sent right after it, was within:
    otherwise the machine was slow, not the payload.
    """

    def __init__(self, measure: Callable[[T], float], *, limit: float, control: T) -> None:
        self._measure = measure
        self._limit = limit
        self._control = control
        self._known: dict[str, tuple[float, ...]] = {}
        self.sent = 0

    def too_slow(self, payload: T) -> bool:
        """Return True if each of `REPLAYS` answers came late while the control came in time."""
        key = repr(payload)
        if key not in self._known:
            self._known[key] = self._replay(payload)
        return bool(self._known[key])

    def latencies(self, payload: T) -> tuple[float, ...]:
        """Return the replays of a payload that was found too slow; empty for any other."""
        return self._known.get(repr(payload), ())

    @property
    def tried(self) -> int:
        """Number of different payloads."""
        return len(self._known)

    def _replay(self, payload: T) -> tuple[float, ...]:
        late: list[float] = []
        for _ in range(REPLAYS + _SPOILED):
            seconds = self._send(payload)
            if seconds <= self._limit:
                return ()
            if self._send(self._control) <= self._limit:
                late.append(seconds)
                if len(late) == REPLAYS:
                    return tuple(late)
        return ()

    def _send(self, payload: T) -> float:
        self.sent += 1
        return self._measure(payload)


def find_slowest_payload(
    payloads: SearchStrategy[T],
    measure: Callable[[T], float],
    *,
    within: float | str,
    control: T,
    examples: int = 200,
    key: bytes | None = None,
) -> SlowestPayload[T] | None:
    """Search ``payloads`` for one that is not answered ``within`` a limit; return the smallest such, None if none is.

    ``measure`` returns the seconds of one request (inf for a failure), ``control`` is a payload that is quick. At
    most ``examples`` payloads are drawn; what the search finds, Hypothesis shrinks. Its deadline and health checks
    are off here, whatever the user's profile says; ``--hypothesis-seed`` works, and with a ``key`` its database does.
    Raises ValidationError if the control itself cannot be answered in time.
    """
    try:
        from hypothesis import HealthCheck, Verbosity, find, settings
        from hypothesis.errors import NoSuchExample
    except ImportError:
        raise ConfigurationError(
            "find_slowest_payload needs Hypothesis; run: pip install 'pytest-inferbench[fuzz]'"
        ) from None

    limit = parse_seconds(within, what="find_slowest_payload(within=...)")
    replayer = PayloadTrial(measure, limit=limit, control=control)
    if replayer.too_slow(control) or min(measure(control) for _ in range(3)) > limit:
        raise ValidationError(f"the control is not answered within {format_seconds(limit)}: nothing can be told apart")
    own = settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        print_blob=False,
    )
    if key is None:
        # Without a name of its own a search would be handed what another one stored.
        own = settings(own, database=None)
    try:
        smallest = find(payloads, replayer.too_slow, settings=own, database_key=key)
    except NoSuchExample:
        return None
    return SlowestPayload(smallest, replayer.latencies(smallest), limit, replayer.tried, replayer.sent)
