"""How many turns are worth a boot: the length of a run for which a verdict takes the least time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pytest_inferbench.judgement.pairing import Sample
from pytest_inferbench.judgement.turn_changes import LEAST_REQUESTS, change_in_turns, in_turns, turn_changes
from pytest_inferbench.runs.run import Run
from pytest_inferbench.stats.in_turns import turn_variance

__all__ = ["LONGEST", "times_as_long"]

#: A run gets at most so many times the turns that its workload asks for.
LONGEST = 4
#: Three pairs know little of the noise between boots: it is taken for at least this share of what turns leave.
_LEAST_SHARE = 0.25


def times_as_long(
    pairs: Sequence[tuple[Run, Run]], metrics: Sequence[str], *, boot_seconds: float, load_seconds: float
) -> int:
    """Return how many times as long further runs should be, 1 to 4, from ``pairs`` (reference, candidate) in turns.

    ``boot_seconds``: what a pair takes before its first turn, ``load_seconds`` from there on. Of a mean over boots,
    each with a mean over turns, the variance for a given time is least with sqrt((boot / load) (turns / boots)) times
    as many turns, where "turns" and "boots" are the two parts of the variance of a pair (Cochran 1977, section 10.6).
    Of several metrics that which asks for most decides. 1 where the pairs do not say.
    """
    wanted = 1.0
    for metric in metrics:
        if metric not in LEAST_REQUESTS or len(pairs) < 3:
            continue
        samples = [(Sample(a.latencies, a), Sample(b.latencies, b)) for a, b in pairs]
        if not all(in_turns(a, b) for a, b in samples):
            continue
        found = turn_variance([turn_changes(a, b, metric)[0] for a, b in samples])
        if found is None:
            continue
        _, of_turns = found
        whole = np.array([change_in_turns(a, b, metric) for a, b in samples])
        of_boots = max(float(whole.var(ddof=1)) - of_turns, _LEAST_SHARE * of_turns)
        if of_turns > 0 and load_seconds > 0:
            wanted = max(wanted, math.sqrt(boot_seconds / load_seconds * of_turns / of_boots))
    return min(LONGEST, round(wanted))
