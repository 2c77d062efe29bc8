"""Warm-up: requests that are not judged, until the service no longer gets faster."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field

import httpx
import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.config.warmup_plan import WarmUpPlan
from pytest_inferbench.deployment import Deployment
from pytest_inferbench.deployment.connections import ConnectedWorkers, watched_connections
from pytest_inferbench.deployment.local import LocalService
from pytest_inferbench.errors import DeploymentError
from pytest_inferbench.events import Observer, WarmingUp
from pytest_inferbench.judgement.validity import Finding
from pytest_inferbench.loadgen import LoadGenerator, Target
from pytest_inferbench.runs.run import Failure, Run
from pytest_inferbench.stats.settling import SpeedUp, speed_up

__all__ = ["warm_up"]

#: A service that is up but not ready yet may fail so many requests per worker before that is an error.
_FIRST, _FIRST_FAILING = 2, 22
_LANES = 8
#: Where requests are short, a block has more of them, so that it takes a second; at most so many times more.
_BLOCK_SECONDS, _BLOCK_TIMES, _MOST_BLOCKS = 1.0, 4, 10
#: Goes on while a block is faster than the one before by more than 5 %, and by what chance makes one time in five:
#: a block too many costs seconds, one too few a cold service.
_FASTER, _LEVEL = 1 / 1.05, 0.2
#: Where it has to end, a run is void only for a speed-up since the first block that is large and beyond doubt.
_STILL_FASTER, _STILL_LEVEL = 1 / 1.2, 0.001
_TIMEOUTS = 3
_REACH_ROUNDS, _REACH_SECONDS, _REACH_MOST = 5, 0.5, 1000
#: Until then it is known that a process has ended.
_NOTICED_SECONDS = 0.3


async def warm_up(
    generator: LoadGenerator,
    bodies: Sequence[object],
    service: Deployment,
    observe: Observer,
    plan: WarmUpPlan = WarmUpPlan(),  # noqa: B008  # frozen
    *,
    clock: Callable[[], int] = time.monotonic_ns,
) -> tuple[Finding, ...]:
    """Warm up every worker of ``service``, and batches, until requests are no faster than the same ones before.

    Three parts: one request at a time per worker until there is an answer; several at once per worker; blocks of the
    same payloads, again one at a time per worker, so that only the service can make a block faster than the last. With
    several workers each request of a block opens a connection. ``plan`` bounds it; ``clock`` is the generator's.

    Returns a finding "invalid" if the service still gets faster at the end, and one "service" if a worker took no
    connection. Raises DeploymentError if no request succeeds, or several in a row time out: there is nothing to
    measure then.
    """
    if plan.off:
        return ()
    with _watched(service) as connected:
        work = _WarmUp(generator, bodies, service, observe, plan, clock)
        await work.first_answers()
        await work.together()
        found = await work.settle()
        return found + await work.reach(connected)


def _watched(service: Deployment) -> AbstractContextManager[ConnectedWorkers]:
    if service.worker_count > 1 and isinstance(service, LocalService):
        return watched_connections(service.pid, service.port, service.worker_count)
    return nullcontext(ConnectedWorkers(0))


@dataclass(slots=True)
class _WarmUp:
    """One warm-up: what it was given, and how far it is. ``seconds``: what a worker needs for a request, about."""

    generator: LoadGenerator
    bodies: Sequence[object]
    service: Deployment
    observe: Observer
    plan: WarmUpPlan
    clock: Callable[[], int]
    sent: int = 0
    answered_ns: int = 0
    seconds: float = 0.0
    timeouts: int = 0  #: in a row, up to now
    blocks: list[NDArray[np.float64]] = field(default_factory=list)

    @property
    def workers(self) -> int:
        """How many processes take requests."""
        return self.service.worker_count

    @property
    def elapsed(self) -> float:
        """Seconds since the first answer."""
        return (self.clock() - self.answered_ns) / 1e9

    @property
    def left(self) -> float:
        """Seconds until no further request is sent."""
        return self.plan.duration - self.elapsed

    async def first_answers(self) -> None:
        """Ask until there is an answer."""
        run = await self._send(_FIRST, lanes=1, fatal=False)
        if run.failed.all() and not run.count(Failure.TIMEOUT):
            before, run = run, await self._send(_FIRST_FAILING, lanes=1, fatal=False)
            if run.failed.all():
                raise await self._refused(before, run)
        elif run.failed.all():
            raise await self._refused(run)
        good = ~run.failed
        self.answered_ns = int(run.completed_ns[good].min())
        self.seconds = max(1, int(run.service_time_ns[good].min())) / 1e9

    async def together(self) -> None:
        """Send several at once to each worker: fewer, and one at a time, where they take long."""
        most = self.plan.duration / 3
        lanes = _clamp(min(self.generator.target.timeout / 2, most) / self.seconds, 1, _LANES)
        count = _clamp(most / self.seconds, 2, self.plan.together)
        # A service that hangs by now is not waited for twice.
        limit = None if count == 2 else max(self.left, self.seconds)
        run = await self._send(count, lanes=min(lanes, count), limit=limit)
        self.seconds = max(1, int(run.completed_ns.max() - run.issued_ns.min())) / 1e9 / count

    async def settle(self) -> tuple[Finding, ...]:
        """Send blocks of the same payloads until one is no faster than the last, or the plan ends it."""
        last: SpeedUp | None = None
        count, took = _clamp(_BLOCK_SECONDS / self.seconds, self.plan.block, _BLOCK_TIMES * self.plan.block), 0.0
        while self.left > took / 2 and len(self.blocks) < _MOST_BLOCKS:
            # The first may take half of the time, so that the second can be as long.
            limit = self.left / 2 if not self.blocks else self.left
            began = self.clock()
            run = await self._send(count, lanes=1, limit=limit, first=0, fresh=self.workers > 1)
            took = (self.clock() - began) / 1e9
            self.blocks.append(np.where(run.failed, np.nan, run.service_time_ns / 1e9))
            if len(self.blocks) == 1:
                # What the first had no time for is not asked of the others.
                issued = len(run) - run.count(Failure.UNISSUED)
                count = max(1, min(count, math.ceil(issued / self.workers)))
                self.blocks[0] = self.blocks[0][: count * self.workers]
            else:
                last = speed_up(*self.blocks[-2:])
                if last.pairs and not last.beyond(ratio=_FASTER, p=_LEVEL):
                    return ()
        if last is None:
            return ()  # too slow to be judged within the bounds
        whole = speed_up(self.blocks[0], self.blocks[-1])
        if last.pairs and not whole.beyond(ratio=_STILL_FASTER, p=_STILL_LEVEL):
            return ()
        return (_unsettled(whole, last, self.sent, self.elapsed),)

    async def reach(self, workers: ConnectedWorkers) -> tuple[Finding, ...]:
        """Open connections until each worker has held one, a few times."""
        for _ in range(_REACH_ROUNDS):
            if workers.complete or self.left <= 0:
                break
            count = _clamp(_LANES * _REACH_SECONDS / self.seconds, _LANES, _REACH_MOST)
            await self._send(count, lanes=_LANES, limit=_REACH_SECONDS)
        if workers.complete:
            return ()
        return (_missed(len(workers.connected), workers.expected, self.sent),)

    async def _send(
        self,
        count: int,
        *,
        lanes: int,
        limit: float | None = None,
        first: int | None = None,
        fresh: bool = False,
        fatal: bool = True,
    ) -> Run:
        """Send ``count`` requests per worker, ``lanes`` at a time; ``first``: which payload to begin with.

        ``fresh``: a connection per request. ``fatal``: that all of them fail is an error.
        """
        start = self.sent if first is None else first
        chosen = [self.bodies[(start + index) % len(self.bodies)] for index in range(count * self.workers)]
        generator = self.generator.without_keep_alive() if fresh else self.generator
        run = await generator.issue_closed(chosen, concurrency=lanes * self.workers, limit=limit)
        issued = np.asarray(run.failure) != Failure.UNISSUED
        self.sent += int(issued.sum())
        self.observe(WarmingUp(requests=self.sent))
        if fatal and issued.any() and run.failed[issued].all():
            raise await self._refused(run)
        for failure in np.asarray(run.failure)[issued].tolist():
            self.timeouts = self.timeouts + 1 if failure == Failure.TIMEOUT else 0
        if self.timeouts >= max(_TIMEOUTS, lanes * self.workers):
            raise DeploymentError(_hanging(self.generator.target, self.timeouts, self.sent, self.service))
        return run

    async def _refused(self, *runs: Run) -> DeploymentError:
        last = sum(len(run) - run.count(Failure.UNISSUED) for run in runs)
        which = f"every one of the last {last} of {self.sent}" if self.answered_ns else f"every one of the first {last}"
        return DeploymentError(await _refusal(self.generator.target, self.bodies[0], runs, which, self.service))


def _clamp(value: float, low: int, high: int) -> int:
    return high if value > high else max(low, math.floor(value))


def _unsettled(whole: SpeedUp, last: SpeedUp, sent: int, seconds: float) -> Finding:
    if not last.pairs:
        message = f"of {sent} warm-up requests none succeeded twice: whether the service still gets faster is not known"
        return Finding(
            "warm-up", "invalid", message, 0.0, 1.0, "check the service's log for why requests fail, one at a time"
        )
    message = (
        f"after {sent} warm-up requests in {seconds:.0f} s the service still got faster: the last {last.pairs} took "
        f"{1 - last.ratio:.0%} less than the same {last.pairs} before them, {1 - whole.ratio:.0%} less than the first"
    )
    advice = (
        'allow more: warmup = { requests = 256, duration = "120s" } in [tool.inferbench]; if it never settles, check '
        "what the service still compiles or loads, and what else uses this machine"
    )
    return Finding("warm-up", "invalid", message, 1 - whole.ratio, 1 - _STILL_FASTER, advice)


def _missed(seen: int, expected: int, sent: int) -> Finding:
    message = f"{seen} of {expected} workers took a connection in {sent} warm-up requests; the others may be cold"
    advice = "check how the service distributes connections among its workers; some may do nothing under this load"
    return Finding("workers-unseen", "service", message, seen, expected, advice)


def _hanging(target: Target, timeouts: int, sent: int, service: Deployment) -> str:
    log = "\n".join(f"  | {line}" for line in service.log_tail().splitlines())
    return (
        f"the service stopped answering while it was warmed up: the last {timeouts} of {sent} requests to "
        f"{_shown(target)} had no answer within {target.timeout:g} s: nothing is measured\n"
        "  raise the timeout of inference_target if it only needs longer\n"
        f"  end of the service's log:\n{log}"
    )


def _shown(target: Target) -> str:
    return re.sub("//[^/]*@", "//***@", target.url)


async def _refusal(target: Target, payload: object, runs: Sequence[Run], which: str, service: Deployment) -> str:
    """Describe a service that answers no request well, with what it answered."""
    counts = {kind: sum(run.count(kind) for run in runs) for kind in Failure if kind.value > Failure.UNISSUED}
    kinds = ", ".join(f"{count} x {kind.name.lower()}" for kind, count in counts.items() if count)
    statuses = sorted({int(status) for run in runs for status in run.status if status})
    await asyncio.sleep(_NOTICED_SECONDS)
    log = "\n".join(f"  | {line}" for line in service.log_tail().splitlines())
    if not service.alive:
        return f"the service's process ended while it was warmed up: nothing is measured\n  end of its log:\n{log}"
    return (
        f"{which} requests to {_shown(target)} failed ({kinds}; HTTP status "
        f"{', '.join(map(str, statuses)) or 'none'}): there is nothing to measure{await _answer(target, payload)}\n"
        "  check `path` in [tool.inferbench] and the fixtures inference_payloads and inference_target\n"
        f"  end of the service's log:\n{log}"
    )


async def _answer(target: Target, payload: object) -> str:
    """Return what one such request is told, for the message alone."""
    with suppress(httpx.HTTPError):
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
            response = await client.request(
                target.method,
                target.url,
                headers=dict(target.headers or {}),
                content=payload if isinstance(payload, str | bytes) else None,
                json=None if isinstance(payload, str | bytes) else payload,
            )
            return f"\n  asked once more, it answered {response.status_code}: {response.text[:300]!r}"
    return ""
