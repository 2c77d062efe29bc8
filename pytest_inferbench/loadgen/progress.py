"""How far a run has come, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Progress"]


@dataclass(frozen=True, slots=True)
class Progress:
    """A run under way: ``elapsed`` of ``total`` seconds, and how many requests reached each stage.

    ``total`` is when the last request is due (0 for a closed loop, which has no such instant). ``scheduled`` counts
    every request of the run; ``issued``, ``completed`` (good or bad) and ``failed`` grow towards it. The first
    report comes when the clock of the run starts, with ``elapsed`` 0.
    """

    elapsed: float
    total: float
    scheduled: int
    issued: int
    completed: int
    failed: int
