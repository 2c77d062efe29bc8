"""Where the time goes: mean latency split into its parts, and the part that moved between two sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_inferbench.judgement.pairing import pair_up, read_runs
from pytest_inferbench.runs.run import Run
from pytest_inferbench.stats.paired import mean_of_changes
from pytest_inferbench.units import format_seconds

__all__ = ["CLIENT", "NETWORK", "QUEUE", "Shift", "attribute", "breakdown", "explain"]

CLIENT = "client delay"
NETWORK = "network and framework"
QUEUE = "queue"
#: A count that services report beside the durations; no part of the latency.
_BATCH = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One part of the mean latency on both sides, in seconds: ``change`` is candidate minus reference, mean over the
    pairs, with its two-sided 1 - 2 alpha ``interval`` (Student's t over pairs; infinite with fewer than two)."""

    component: str
    reference: float
    candidate: float
    change: float
    interval: tuple[float, float]


def breakdown(run: Run) -> dict[str, float]:
    """Return the mean seconds per part over the good requests of one run; the parts add up to the mean latency.

    The generator's own delay, each duration of the service's ``Server-Timing``, and what is left of the time between
    issue and answer: network and framework. Empty without a good request; requests without the header count as
    spending nothing in its parts.
    """
    good = ~run.failed
    if not good.any():
        return {}
    parts = {CLIENT: float(run.issue_delay_ns[good].mean()) / 1e9}
    for name, values in run.server_timing.items():
        if name != _BATCH:
            parts[name] = float(np.nan_to_num(values[good].astype(np.float64)).mean()) / 1e3
    rest = float(run.service_time_ns[good].mean()) / 1e9 - math.fsum(parts[name] for name in parts if name != CLIENT)
    parts[NETWORK] = rest
    return parts


def attribute(reference: Sequence[Run], candidate: Sequence[Run], *, alpha: float = 0.05) -> tuple[Shift, ...]:
    """Return how each part moved, pair by pair; empty where a side reports no parts, or nothing makes a pair."""
    pairs = pair_up(read_runs(reference, "reference"), read_runs(candidate, "candidate")).pairs
    splits = [(breakdown(r.run), breakdown(c.run)) for r, c in pairs if r.run is not None and c.run is not None]
    splits = [(before, after) for before, after in splits if before and after]
    names = list(dict.fromkeys(name for pair in splits for split in pair for name in split))
    reported = [[set(split) - {CLIENT, NETWORK} for split in side] for side in zip(*splits, strict=True)]
    if not splits or not all(any(side) for side in reported):
        return ()
    shifts = []
    for name in names:
        before, after = (np.array([split.get(name, 0.0) for split in side]) for side in zip(*splits, strict=True))
        estimate = mean_of_changes(before, after, shared=True)
        shifts.append(
            Shift(
                component=name,
                reference=float(before.mean()),
                candidate=float(after.mean()),
                change=estimate.mean,
                interval=estimate.interval(alpha),
            )
        )
    return tuple(shifts)


def explain(shifts: Sequence[Shift]) -> str:
    """Return in one sentence which part got slower; empty if none did for certain.

    A queue grows when what it waits for slows down, by more than that itself did: so it is named first only where
    nothing else moved.
    """
    slower = sorted((s for s in shifts if s.interval[0] > 0), key=lambda s: (s.component == QUEUE, -s.change))
    if not slower:
        return ""
    total = math.fsum(s.change for s in shifts)
    first, *rest = (f"{s.component} {_change(s)}" for s in slower)
    also = f"; also {', '.join(rest)}" if rest else ""
    return f"where the time went: {first} of {_signed(total)} in the mean{also}"


def _change(shift: Shift) -> str:
    low, high = shift.interval
    if not math.isfinite(low):
        return _signed(shift.change)
    relative = f", x{shift.candidate / shift.reference:.2f}" if shift.reference > 0 else ""
    return f"{_signed(shift.change)} ({_signed(low)} to {_signed(high)}{relative})"


def _signed(seconds: float) -> str:
    return ("+" if seconds >= 0 else "-") + format_seconds(abs(seconds))
