"""The pairs of runs that every measurement of this session has so far, so that the rerun of a test adds to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_inferbench.harness.trial import Trial

__all__ = ["History", "Pair", "PairLog"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The trials of one seed: of the candidate, and of the reference if it is measured in the same session."""

    seed: int
    candidate: Trial
    reference: Trial | None = None

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The trials, the reference's first."""
        return (self.candidate,) if self.reference is None else (self.reference, self.candidate)

    @property
    def valid(self) -> bool:
        """False if the measurement failed in a trial, not the service."""
        return all(trial.valid for trial in self.trials)


@dataclass(slots=True)
class PairLog:
    """The pairs of one measurement. ``seeds``: how often each seed was drawn, those of dropped pairs included."""

    pairs: list[Pair] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def begin_attempt(self) -> int:
        """Drop the pairs in which the measurement failed, which say nothing, and return the number of those left."""
        self.pairs[:] = [pair for pair in self.pairs if pair.valid]
        return len(self.pairs)

    def adopt(self, pairs: Sequence[Pair]) -> None:
        """Add pairs that an interrupted session measured."""
        for pair in pairs:
            self.add(pair)

    def add(self, pair: Pair) -> None:
        """Add a pair that was measured."""
        self.pairs.append(pair)
        self.seeds.append(pair.seed)

    def next_seed(self, first: int, stored: Sequence[int] = ()) -> int:
        """Return the seed of the next pair: a new one from ``first`` on, or the least used of a ``stored`` reference.

        A stored reference has runs of certain seeds only: a run of any other would find no partner.
        """
        if stored:
            return min(dict.fromkeys(stored), key=self.seeds.count)
        return max((seed + 1 for seed in self.seeds), default=first)


@dataclass(slots=True)
class History:
    """What was measured in each test of this session.

    Running a failed test again until it passes would be rolling the dice again: the second attempt is judged by
    its own runs and those of the first. Since only a failure is run again, this makes false alarms rarer, not more.
    """

    test: str = ""
    _node: str = ""
    _position: int = 0
    _logs: dict[tuple[str, int], PairLog] = field(default_factory=dict)

    def begin(self, test: str, node: str) -> None:
        """Note that a test starts, perhaps not for the first time: the name of its baseline, and its node id."""
        self.test, self._node, self._position = test, node, 0

    def next(self) -> tuple[tuple[str, int], PairLog]:
        """Return what tells the next measurement of this test from all others, and the log to add its pairs to."""
        key = (self._node, self._position)
        self._position += 1
        return key, self._logs.setdefault(key, PairLog())
