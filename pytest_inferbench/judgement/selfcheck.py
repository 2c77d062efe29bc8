"""What comparisons of a service with itself say about this machine: its noise, and what can be seen through it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.comparison import compare, compare_family
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.pairing import Sample, pair_up, read_runs
from pytest_inferbench.judgement.turn_changes import in_turns, turn_changes
from pytest_inferbench.runs.run import Run
from pytest_inferbench.stats.in_turns import turn_variance
from pytest_inferbench.units import format_fraction

__all__ = ["Noise", "SelfCheck", "self_check"]

_POWER = 0.9
_CONFIDENCE = 0.9
_DRAWS = 200
#: With which a slowdown of 5 % is looked for.
_SMALL_MARGIN = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The noise of one metric between boots of the same service.

    ``sd``: standard deviation of the logarithm of one run's metric, estimated from the differences within pairs
    (divided by the square root of 2), with its 90 % ``interval`` (chi-square; it takes the noise for normal).
    ``detectable``: the smallest slowdown (0.08: 8 %) that is REGRESSED with a probability of 90 % or more in
    ``repeats`` pairs; ``at_worst`` the same for the upper end of the interval. ``turns``, ``boots``: of pairs that were
    measured in turns, the standard deviation of one turn's metric, and what of ``sd`` the turns do not explain: the
    boots. None for whole runs, which do not tell the two apart.
    """

    metric: str
    sd: float
    interval: tuple[float, float]
    detectable: float
    at_worst: float
    turns: float | None = None
    boots: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCheck:
    """What ``pairs`` pairs of boots of one service say. ``false_alarms`` of ``draws``: how many comparisons of
    ``repeats`` pairs, drawn from these with either side as the candidate, came out REGRESSED (draws overlap: they
    are no independent trials). ``seconds``: that one pair took, boots included; None where that is not known."""

    pairs: int
    repeats: int
    margin: float
    alpha: float
    noise: tuple[Noise, ...]
    false_alarms: int
    draws: int
    seconds: float | None = None

    def minutes_for(self, slowdown: float, *, margin: float | None = None) -> float | None:
        """Return how long it takes until ``slowdown`` (0.1: 10 %) is found 9 times of 10 by every metric.

        ``margin``: by default that of the self-check. None where it is not known, or would take more than 100 pairs.
        """
        tolerated = self.margin if margin is None else margin
        if self.seconds is None or not slowdown > tolerated:
            return None
        root = math.sqrt(2)
        for pairs in range(2, 101):
            found = (detectable(n.sd * root, pairs, margin=tolerated, alpha=self.alpha) for n in self.noise)
            if max(found) <= slowdown:
                return pairs * self.seconds / 60
        return None

    def describe(self) -> str:
        """Return it in one sentence."""
        found = ", ".join(
            f"{n.metric} {format_fraction(n.sd)} ({format_fraction(n.interval[0])} to {format_fraction(n.interval[1])})"
            for n in self.noise
        )
        apart = ", ".join(
            f"{n.metric} {format_fraction(n.turns)} and {format_fraction(n.boots)}"
            for n in self.noise
            if n.turns is not None and n.boots is not None
        )
        seen = ", ".join(f"{n.metric} {format_fraction(n.detectable)}" for n in self.noise)
        text = f"noise {'of a pair in turns' if apart else 'between boots'} {found}, from {self.pairs} pairs; "
        if apart:
            text += f"between turns and between boots {apart}; "
        text += f"{self.repeats} pairs find a slowdown (9 times of 10) from {seen}; "
        if (ten := self.minutes_for(0.1)) is not None:
            text += f"10% takes {ten:.0f} min"
            five = self.minutes_for(0.05, margin=_SMALL_MARGIN)
            text += f", 5% (margin {_SMALL_MARGIN:.0%}) {five:.0f} min; " if five is not None else "; "
        return text + f"false alarms in {self.false_alarms} of {self.draws} draws"

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values; what is infinite, because so few pairs find nothing, is null."""
        return {**asdict(self), "noise": [_finite(asdict(noise)) for noise in self.noise]}

    @classmethod
    def from_dict(cls, table: Mapping[str, object]) -> SelfCheck:
        """Read what `to_dict` returned. Raises ValidationError for anything else."""
        try:
            values = dict(table)
            rows: Sequence[Mapping[str, object]] = values.pop("noise")  # type: ignore[assignment]
            noise = tuple(_read_noise(row) for row in rows)
            found = cls(noise=noise, **values)  # type: ignore[arg-type]
            found.describe()
        except (KeyError, TypeError, ValueError) as error:
            raise ValidationError(f"not a self-check: {error}") from error
        return found


def _finite(row: dict[str, object]) -> dict[str, object]:
    return {name: None if value == math.inf else value for name, value in row.items()}


def _read_noise(row: Mapping[str, object]) -> Noise:
    bounds = {name: math.inf if row[name] is None else row[name] for name in ("detectable", "at_worst")}
    return Noise(**{**row, **bounds, "interval": tuple(row["interval"])})  # type: ignore[arg-type]


def self_check(
    one: Sequence[Run],
    other: Sequence[Run],
    *,
    repeats: int,
    metrics: Sequence[str] = ("p50", "p95"),
    margin: float = 0.05,
    alpha: float = 0.05,
    rng: np.random.Generator,
    seconds: float | None = None,
) -> SelfCheck | None:
    """Judge pairs of runs of the same service; None with fewer than three pairs, or where a metric is not finite.

    ``seconds``: what a pair took.
    """
    pairs = pair_up(read_runs(one, "reference"), read_runs(other, "candidate")).pairs
    if len(pairs) < 3:
        return None
    noise = []
    for metric in metrics:
        ratios = np.array(compare(one, other, metric=metric, margin=margin, alpha=alpha).pair_ratios)
        if not (np.isfinite(ratios).all() and (ratios > 0).all()):
            return None
        found = _noise(metric, np.log(ratios), repeats, margin, alpha)
        noise.append(_split(found, pairs) if all(in_turns(r, c) for r, c in pairs) else found)
    sides = [tuple(s.latencies if s.run is None else s.run for s in pair) for pair in pairs]
    size = min(repeats, len(sides))
    alarms = 0
    for _ in range(_DRAWS):
        chosen = rng.choice(len(sides), size=size, replace=False)
        turned = rng.random(size) < 0.5
        drawn = [sides[k][::-1] if turn else sides[k] for k, turn in zip(chosen, turned, strict=True)]
        family = compare_family(
            [pair[0] for pair in drawn], [pair[1] for pair in drawn], metrics=metrics, margin=margin, alpha=alpha
        )
        alarms += any(check.outcome is Outcome.REGRESSED for check in family)
    return SelfCheck(
        pairs=len(sides),
        repeats=repeats,
        margin=margin,
        alpha=alpha,
        noise=tuple(noise),
        false_alarms=alarms,
        draws=_DRAWS,
        seconds=seconds,
    )


def _noise(metric: str, logs: NDArray[np.float64], repeats: int, margin: float, alpha: float) -> Noise:
    # About zero, not about their mean: the two sides are the same service.
    n = logs.size
    variance = float((logs**2).mean())
    low, high = (
        math.sqrt(n * variance / float(special.chdtri(n, tail)))
        for tail in ((1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2)
    )
    root = math.sqrt(2)
    sd = math.sqrt(variance)
    return Noise(
        metric=metric,
        sd=sd / root,
        interval=(low / root, high / root),
        detectable=detectable(sd, repeats, margin=margin, alpha=alpha),
        at_worst=detectable(high, repeats, margin=margin, alpha=alpha),
    )


def _split(noise: Noise, pairs: Sequence[tuple[Sample, Sample]]) -> Noise:
    """Return ``noise`` split into that between turns and that between boots (variance components, from turns)."""
    found = turn_variance([turn_changes(r, c, noise.metric)[0] for r, c in pairs])
    if found is None:
        return noise
    of_one_turn, of_turns = found
    boots = max(0.0, 2 * noise.sd**2 - of_turns)
    return replace(noise, turns=math.sqrt(of_one_turn / 2), boots=math.sqrt(boots / 2))


def detectable(sd: float, pairs: int, *, margin: float, alpha: float) -> float:
    """Return the smallest slowdown that the t bound of ``pairs`` pairs puts above the margin with 90 % probability.

    ``sd``: of the log ratio within a pair. Noncentral t (Johnson and Welch 1940). Infinite with fewer than two
    pairs.
    """
    if pairs < 2:
        return math.inf
    degrees = pairs - 1
    critical = -float(special.stdtrit(degrees, alpha))

    def lacking(shift: float) -> float:
        return float(special.nctdtr(degrees, shift, critical)) - (1 - _POWER)

    shift = float(optimize.brentq(lacking, 0.0, 10 * critical + 50))
    return (1 + margin) * math.exp(shift * sd / math.sqrt(pairs)) - 1
