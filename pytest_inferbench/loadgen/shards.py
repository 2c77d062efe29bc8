"""One schedule over several generators, and their facts put together again. Pure: no clock, no process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.loadgen.messages import Message
from pytest_inferbench.loadgen.payloads import Bodies
from pytest_inferbench.loadgen.recorder import MAX_METRICS
from pytest_inferbench.runs.run import Failure
from pytest_inferbench.workload.turns import TurnPlan

__all__ = ["Work", "merge", "split"]


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What is to be done in all: n requests to one target. ``offsets_ns`` is None for a closed loop.

    ``target``: the target as plain values, tokens included, so that a repr does not show it. ``drain_ns``: how long
    after the last offset answers are waited for. ``concurrency``: users of a closed loop, 0 for an open one.
    ``limit_ns``: how long after its start a closed loop issues requests, None for as long as there are any.
    ``progress``: whether reports are wanted. ``turns``: where one generator is to wait for a word before it goes on,
    None to issue all requests in one.
    """

    target: Mapping[str, object] = field(repr=False)
    bodies: Bodies
    offsets_ns: NDArray[np.int64] | None = None
    drain_ns: int = 0
    concurrency: int = 0
    limit_ns: int | None = None
    progress: bool = False
    turns: TurnPlan | None = None

    @property
    def total_ns(self) -> int:
        """When the last request is due, after the start; 0 for a closed loop."""
        return 0 if self.offsets_ns is None or not self.offsets_ns.size else int(self.offsets_ns[-1])


def split(work: Work, generators: int) -> list[Message]:
    """Return one job for each of at most ``generators`` generators: of g, the k-th gets requests k, k + g, ...

    Dealt out like cards, so that each generator has its share of every burst. All of them drain until the same
    instant. Users of a closed loop and a limit of connections are divided too: together they are what was asked
    for. Raises ValidationError where there are fewer connections than generators.
    """
    shares = max(1, min(generators, len(work.bodies), work.concurrency or generators))
    limit = cast("int | None", work.target.get("max_connections"))
    if limit is not None and limit < shares:
        raise ValidationError(
            f"max_connections={limit} cannot be divided among {shares} load generators; use at most {limit} of them"
        )
    jobs = []
    for k in range(shares):
        target = {**work.target, "max_connections": limit if limit is None else _share(limit, k, shares)}
        facts: dict[str, object] = {"target": target, "progress": work.progress}
        arrays: dict[str, NDArray[np.generic]] = dict(work.bodies.every(k, shares).arrays)
        if work.offsets_ns is None:
            facts["concurrency"] = _share(work.concurrency, k, shares)
            facts["limit_ns"] = work.limit_ns
        else:
            offsets_ns = work.offsets_ns[k::shares]
            arrays["offsets_ns"] = offsets_ns
            facts["drain_ns"] = work.drain_ns + work.total_ns - int(offsets_ns[-1])
        if work.turns is not None:
            facts["turns_first"], facts["turns_ns"] = work.turns.first.tolist(), work.turns.starts_ns.tolist()
        jobs.append(Message("job", facts, arrays))
    return jobs


def merge(results: Sequence[Message], *, shifts_ns: Sequence[int] | None = None) -> Message:
    """Return the facts of all requests in their order, as one generator would have reported them.

    ``results`` in the order of the jobs. ``shifts_ns``: what to add to each one's instants so that all are of one
    clock; latencies do not depend on it.
    """
    shares = len(results)
    if shares == 1 and not (shifts_ns and shifts_ns[0]):
        return results[0]
    n = sum(result.arrays["status"].size for result in results)
    metrics = list(dict.fromkeys(name for result in results for name in _metrics(result)))[:MAX_METRICS]
    arrays: dict[str, NDArray[np.generic]] = {
        **{name: np.full(n, -1, np.int64) for name in ("scheduled_ns", "issued_ns", "completed_ns")},
        "status": np.zeros(n, np.int16),
        "failure": np.full(n, Failure.UNISSUED, np.uint8),
        **{f"server_timing.{number}": np.full(n, np.nan, np.float32) for number in range(len(metrics))},
    }
    for k, result in enumerate(results):
        shift = 0 if shifts_ns is None else shifts_ns[k]
        own = {name: f"server_timing.{number}" for number, name in enumerate(_metrics(result))}
        for name in ("scheduled_ns", "issued_ns", "completed_ns"):
            instants = cast("NDArray[np.int64]", result.arrays[name])
            arrays[name][k::shares] = np.where(instants < 0, instants, instants + shift)
        for name in ("status", "failure"):
            arrays[name][k::shares] = result.arrays[name]
        for number, metric in enumerate(metrics):
            if metric in own:
                arrays[f"server_timing.{number}"][k::shares] = result.arrays[own[metric]]
    return Message("run", {"server_timing": metrics}, arrays)


def _metrics(result: Message) -> list[str]:
    return cast("list[str]", result.facts["server_timing"])


def _share(total: int, k: int, shares: int) -> int:
    """Return the k-th of ``shares`` whole parts of ``total``, the larger ones first."""
    return total // shares + (k < total % shares)
