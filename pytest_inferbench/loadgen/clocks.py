"""How far the clock of another machine is from ours, and how well that is known. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_inferbench.errors import LoadError
from pytest_inferbench.runs.run import ClockOffset

__all__ = ["CLOCK_LIMIT_NS", "bounded", "offset_of"]

#: Requests of several machines may be out of step by so much: below what tells apart the latencies of a model.
CLOCK_LIMIT_NS = 5_000_000


def offset_of(generator: str, readings: Sequence[tuple[int, int, int]]) -> ClockOffset:
    """Return the offset from ``readings`` (our clock before, theirs, ours after; nanoseconds), at least one.

    Theirs was read at some instant between ours: the tightest pair bounds it best (Cristian 1989), and the middle
    of it is wrong by at most half of its length, however unequal the two ways are.
    """
    before, theirs, after = min(readings, key=lambda reading: reading[2] - reading[0])
    return ClockOffset(generator, theirs - (before + after) // 2, (after - before + 1) // 2)


def bounded(first: ClockOffset, then: ClockOffset | None = None, *, limit_ns: int = CLOCK_LIMIT_NS) -> ClockOffset:
    """Return ``first`` with an error that holds until ``then`` was measured too, if it was.

    Raises LoadError if that is more than ``limit_ns``.
    """
    error_ns = first.error_ns
    if then is not None:
        error_ns = max(error_ns, abs(then.offset_ns - first.offset_ns) + then.error_ns)
    if error_ns > limit_ns:
        what = "is known" if then is None else "ran steadily"
        raise LoadError(
            f"the clock of the load generator {first.generator} {what} only to {error_ns / 1e6:.1f} ms (limit "
            f"{limit_ns / 1e6:g} ms): its requests would be out of step with the others'; use a machine that is nearer "
            "or less busy, or processes of this machine (--inferbench-generators N)"
        )
    return ClockOffset(first.generator, first.offset_ns, error_ns)
