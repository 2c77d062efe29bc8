"""Where the facts of a run are written while it is under way."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.loadgen.server_timing import parse_server_timing
from pytest_inferbench.runs.run import Failure

__all__ = ["MAX_METRICS", "Answer", "Recorder"]

#: At most so many requests go into the figures of a run under way; some 20 µs for as many.
_RECENT_REQUESTS = 1_000

#: Distinct Server-Timing metrics stored per run; a service that invents names per request must not exhaust memory.
MAX_METRICS = 16


class Answer(NamedTuple):
    """What came of one request. A tuple, not a dataclass: one is made per request at thousands per second."""

    completed_ns: int
    status: int
    failure: Failure
    server_timing: str | None = None


class Recorder:
    """The arrays of one run of n requests, written in place, about 25 bytes per request and 4 per timing metric.

    Elements are written through memoryviews: several times cheaper than numpy's own item assignment.
    """

    __slots__ = (
        "_completed",
        "_failure",
        "_issued",
        "_status",
        "_timing",
        "completed_ns",
        "count_completed",
        "count_failed",
        "count_issued",
        "failure",
        "issued_ns",
        "server_timing",
        "status",
    )

    def __init__(self, n: int) -> None:
        self.issued_ns: NDArray[np.int64] = np.full(n, -1, np.int64)
        self.completed_ns: NDArray[np.int64] = np.full(n, -1, np.int64)
        self.status: NDArray[np.int16] = np.zeros(n, np.int16)
        self.failure: NDArray[np.uint8] = np.full(n, Failure.UNISSUED, np.uint8)
        self.server_timing: dict[str, NDArray[np.float32]] = {}
        self._issued = self.issued_ns.data
        self._completed = self.completed_ns.data
        self._status = self.status.data
        self._failure = self.failure.data
        self._timing: dict[str, memoryview[float]] = {}
        self.count_issued = self.count_completed = self.count_failed = 0

    def __len__(self) -> int:
        return len(self._issued)

    def issue(self, i: int, now_ns: int) -> None:
        """Request ``i`` is about to be given to the client."""
        self._issued[i] = now_ns
        self._failure[i] = 2  # UNFINISHED, until an answer says otherwise
        self.count_issued += 1

    def finish(self, i: int, answer: Answer) -> None:
        """Request ``i`` got an answer or is known to have failed."""
        completed_ns, status, failure, server_timing = answer
        self._completed[i] = completed_ns
        self._status[i] = status
        self._failure[i] = failure
        self.count_completed += 1
        if failure:
            self.count_failed += 1
        if server_timing is not None:
            for name, value in parse_server_timing(server_timing).items():
                column = self._timing.get(name)
                if column is None:
                    if len(self._timing) >= MAX_METRICS:
                        continue
                    self.server_timing[name] = np.full(len(self), np.nan, np.float32)
                    column = self._timing[name] = cast("memoryview[float]", self.server_timing[name].data)
                column[i] = value

    def recent_figures(self, scheduled_ns: NDArray[np.int64], now_ns: int) -> dict[str, int]:
        """Median and 95th percentile of the latencies of the latest thousand issued requests, and the longest delay.

        ``scheduled_ns``, shape (n,): when each was due. What has no answer yet counts with its age, so that a service
        that stands still shows; what failed counts as it lasted. Nanoseconds; empty before the first request.
        """
        latest = slice(max(0, self.count_issued - _RECENT_REQUESTS), self.count_issued)
        due, issued, completed = scheduled_ns[latest], self.issued_ns[latest], self.completed_ns[latest]
        known = issued >= 0  # of several generators, or users of a closed loop, a later one may have come first
        if not known.any():
            return {}
        latencies = np.sort((np.where(completed < 0, now_ns, completed) - due)[known])
        p50, p95 = (int(latencies[round((latencies.size - 1) * p)]) for p in (0.5, 0.95))
        return {"p50_ns": p50, "p95_ns": p95, "delay_ns": int((issued - due)[known].max())}
