"""What counts as a run, and which run of the reference is compared with which of the candidate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.runs.run import Run

__all__ = ["Pairing", "Runs", "Sample", "pair_up", "read_runs"]

#: One side of a comparison: runs, or the latencies of runs; a bare ``Run`` or 1-D array is one run.
Runs = Run | Sequence[Run] | Sequence[ArrayLike] | NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One run as the statistics see it: latencies in seconds in arrival order, +inf where the request failed."""

    latencies: NDArray[np.float64]
    run: Run | None = None

    def __post_init__(self) -> None:
        if self.latencies.ndim != 1 or self.latencies.size == 0:
            raise ValidationError(f"a run needs a 1-D array of latencies, got shape {self.latencies.shape}")
        if np.isnan(self.latencies).any():
            raise ValidationError("latencies hold NaN; a failed request is inf")
        if (self.latencies < 0).any():
            raise ValidationError("latencies hold negative values; they are seconds since the request was due")

    @property
    def error_rate(self) -> float:
        """Failed over scheduled requests."""
        return float(np.isinf(self.latencies).mean())


@dataclass(frozen=True, slots=True, eq=False)
class Pairing:
    """Which sample was compared with which, ``(reference, candidate)``, and what found no partner, in words.

    ``again``: for each pair, further runs of the candidate under the same schedule and payloads, as the rerun of a
    test against a stored baseline makes them; none, or one tuple for each pair.
    """

    pairs: tuple[tuple[Sample, Sample], ...]
    notes: tuple[str, ...] = ()
    again: tuple[tuple[Sample, ...], ...] = ()

    @property
    def sides(self) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
        """Return all runs that count, of the reference and of the candidate."""
        more = tuple(sample for extra in self.again for sample in extra)
        return tuple(r for r, _ in self.pairs), tuple(c for _, c in self.pairs) + more


def read_runs(side: Runs, name: str) -> tuple[Sample, ...]:
    """Return the samples of one side, at least one; raise ValidationError naming the side and the run."""
    items: list[object]
    if isinstance(side, Run):
        items = [side]
    elif isinstance(side, np.ndarray):
        items = [side] if side.ndim == 1 and side.dtype != object else list(side) if side.ndim else [side]
    elif isinstance(side, Iterable) and not isinstance(side, str | bytes | dict):
        items = list(side)
    else:
        raise ValidationError(f"the {name} must be a sequence of runs, got {type(side).__name__}")
    if not items:
        raise ValidationError(f"the {name} holds no runs; compare() needs at least one run on each side")
    if any(np.isscalar(item) and not isinstance(item, str | bytes) for item in items):
        raise ValidationError(
            f"the {name} is a sequence of single values, not of runs; one run is written as [latencies], "
            f"several as [latencies_1, latencies_2]"
        )
    return tuple(_read(item, f"run {position} of the {name}") for position, item in enumerate(items, start=1))


def _read(item: object, where: str) -> Sample:
    if isinstance(item, Run):
        if len(item) == 0:
            raise ValidationError(f"{where} holds no requests: its schedule was empty (a longer duration?)")
        return Sample(item.latencies, item)
    try:
        values = np.array(item, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValidationError(f"{where} is neither a Run nor a 1-D array of latencies in seconds: {error}") from error
    try:
        return Sample(values)
    except ValidationError as error:
        raise ValidationError(f"{where}: {error}") from None


def pair_up(reference: Sequence[Sample], candidate: Sequence[Sample]) -> Pairing:
    """Pair arrays by position and runs by the digest of their schedule, and by that of the payloads if both have one.

    Runs with the same digest are paired in the order given. Further runs of the candidate under the schedule of a
    pair belong to that pair. Runs against arrays are paired by position, and a note says that nothing checks the
    schedules.
    """
    runs = [sample.run is not None for sample in (*reference, *candidate)]
    notes: list[str] = []
    again: list[list[Sample]] = []
    if all(runs):
        pairs, again = _by_digest(reference, candidate)
        if not pairs:
            notes.append("no run of the candidate was issued the schedule and payloads of a run of the reference")
    else:
        pairs = list(zip(reference, candidate, strict=False))
        if any(runs):
            notes.append("runs paired with plain arrays by position: nothing shows that their schedules agree")
    for name, side in (("reference", reference), ("candidate", candidate)):
        alone = len(side) - len(pairs) - (sum(map(len, again)) if name == "candidate" else 0)
        if alone:
            notes.append(f"{alone} of {len(side)} runs of the {name} found no partner and {_were(alone)} left out")
    if repeated := sum(map(len, again)):
        notes.append(f"{repeated} further runs of the candidate repeat the schedules of pairs, and count with them")
    unequal = sum(r.latencies.size != c.latencies.size for r, c in pairs)
    if unequal:
        notes.append(f"{unequal} of {len(pairs)} pairs hold runs of unequal length")
    return Pairing(tuple(pairs), tuple(notes), tuple(map(tuple, again)))


def _by_digest(
    reference: Sequence[Sample], candidate: Sequence[Sample]
) -> tuple[list[tuple[Sample, Sample]], list[list[Sample]]]:
    waiting: dict[str, list[Sample]] = defaultdict(list)
    for sample in candidate:
        waiting[_run(sample).digest].append(sample)
    pairs: list[tuple[Sample, Sample]] = []
    for sample in reference:
        partners = waiting[_run(sample).digest]
        match = next((i for i, partner in enumerate(partners) if _same_payloads(sample, partner)), None)
        if match is not None:
            pairs.append((sample, partners.pop(match)))
    again: list[list[Sample]] = [[] for _ in pairs]
    # Evenly, where several pairs share a schedule.
    for sample in (left for partners in waiting.values() for left in partners):
        same = [
            extra
            for (paired, _), extra in zip(pairs, again, strict=True)
            if _run(paired).digest == _run(sample).digest and _same_payloads(paired, sample)
        ]
        if same:
            min(same, key=len).append(sample)
    return pairs, again


def _same_payloads(a: Sample, b: Sample) -> bool:
    ours, theirs = _run(a).payload_digest, _run(b).payload_digest
    return not ours or not theirs or ours == theirs


def _run(sample: Sample) -> Run:
    if sample.run is None:
        raise ValidationError("expected a Run, got an array of latencies")
    return sample.run


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
