"""Admission: requests that a lasting queue would answer too late are refused on arrival, when that costs little.

A queue that only grows makes every answer late, so that an overloaded service does all of its work for nothing. A
short queue is no such thing: a burst is served, and nobody is the worse for it. The difference is how long it lasts.
As with CoDel (Nichols and Jacobson, "Controlling queue delay", ACM Queue 10(5), 2012), the queue counts as standing
once the expected wait has stayed above its target for a whole interval; from then on, and until it has stayed below
for a whole interval too, only those are let in whose wait is within the target.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

INTERVAL_NS: Final = 500_000_000
# Share of the latest batch in the running estimate of what a token costs.
_WEIGHT: Final = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """A batch that is being computed."""

    tokens: int
    started_ns: int


class Admission:
    """Forecasts the wait from the tokens that are ahead and what recent tokens took. For one event loop.

    ``target_ms``: the wait to which a lasting queue is held; 0 lets everybody in. ``streams``: how many batches are
    computed at once. ``clock``: monotonic nanoseconds.
    """

    def __init__(self, *, target_ms: int, streams: int = 1, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._target_ns = target_ms * 1_000_000
        self._streams = streams
        self._clock = clock
        self._tokens = 0
        self._ns_per_token = 0.0
        self._running: list[Running] = []
        self._standing = False
        # When the wait was last on the side of the target that the state says.
        self._agreed_ns = clock()

    @property
    def waiting_tokens(self) -> int:
        """The tokens that are ahead, those of the running batch included."""
        return self._tokens

    @property
    def expected_wait_ns(self) -> int:
        """How long a request that came now would wait before its own turn."""
        now = self._clock()
        # A batch that takes longer than it should still is not done.
        done_ns = sum(min(now - batch.started_ns, batch.tokens * self._ns_per_token) for batch in self._running)
        return max(0, round((self._tokens * self._ns_per_token - done_ns) / self._streams))

    def entered(self, tokens: int) -> None:
        """Count a text in."""
        self._tokens += tokens

    def left(self, tokens: int) -> None:
        """Count a text out that was not computed."""
        self._tokens -= tokens

    def started(self, tokens: int) -> Running:
        """Note that a batch with so many tokens is being computed; what is returned tells it from others."""
        running = Running(tokens, self._clock())
        self._running.append(running)
        return running

    def finished(self, running: Running) -> None:
        """Count a batch out and learn from how long it took."""
        self._running.remove(running)
        self._tokens -= running.tokens
        if running.tokens:
            took = (self._clock() - running.started_ns) / running.tokens
            self._ns_per_token += (took - self._ns_per_token) * (_WEIGHT if self._ns_per_token else 1.0)

    def retry_after_s(self) -> int | None:
        """None: come in. Otherwise after how many seconds, at least 1, a client may try again."""
        if not self._target_ns:
            return None
        now, wait_ns = self._clock(), self.expected_wait_ns
        long = wait_ns > self._target_ns
        if long == self._standing:
            self._agreed_ns = now
        elif now - self._agreed_ns >= INTERVAL_NS:
            self._standing, self._agreed_ns = long, now
        if not (long and self._standing):
            return None
        return max(1, math.ceil(wait_ns / 1e9))
