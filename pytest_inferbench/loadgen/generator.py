"""The load generator as its users see it: a target and a schedule in, a ``Run`` out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.errors import ConfigurationError, ValidationError
from pytest_inferbench.events import Progress
from pytest_inferbench.loadgen import processes
from pytest_inferbench.loadgen.messages import Message
from pytest_inferbench.loadgen.payloads import serialize
from pytest_inferbench.loadgen.progress import ProgressSum
from pytest_inferbench.loadgen.shards import Work
from pytest_inferbench.loadgen.target import Target
from pytest_inferbench.runs.run import ClockOffset, Run
from pytest_inferbench.runs.usage import GeneratorUsage, Resources
from pytest_inferbench.workload.arrivals import Schedule
from pytest_inferbench.workload.turns import TurnPlan

__all__ = ["LoadGenerator"]


class LoadGenerator:
    """Drives ``target`` from a process of its own, so that nothing in this one can disturb the clock.

    ``drain_timeout``: how many seconds after the last request is due to wait for answers. ``on_progress`` is called
    in the caller's event loop, several times a second. ``generators``: how many processes share the requests, or the
    address of a Dask scheduler (``"tcp://host:8786"``) whose workers do; the facts are those of a single one. Raises
    :class:`ValidationError` for a target without a host.
    """

    def __init__(
        self,
        target: Target,
        *,
        drain_timeout: float = 30.0,
        on_progress: Callable[[Progress], None] | None = None,
        generators: int | str = 1,
    ) -> None:
        if not target.is_absolute:
            raise ValidationError(
                f"target {target.url!r} is a path without a host; resolve it with target.at('http://host:port')"
            )
        if isinstance(drain_timeout, bool) or not 0 <= drain_timeout < math.inf:
            raise ValidationError(f"drain_timeout must be a finite number of seconds, got {drain_timeout!r}")
        if isinstance(generators, str):
            if not generators.startswith("tcp://"):
                raise ValidationError(
                    f"generators must be a number, or tcp://host:port of a Dask scheduler, got {generators!r}"
                )
        elif isinstance(generators, bool) or not isinstance(generators, int) or generators < 1:
            raise ValidationError(f"generators must be a whole number above zero, got {generators!r}")
        elif target.ca_file is not None and not Path(target.ca_file).is_file():
            raise ValidationError(f"Target.ca_file {target.ca_file!r} is not a file")
        self.target = target
        self.drain_timeout = drain_timeout
        self.generators = generators
        self._on_progress = on_progress

    def without_keep_alive(self) -> LoadGenerator:
        """Return such a generator that opens a connection for each request."""
        return LoadGenerator(
            replace(self.target, keep_alive=False),
            drain_timeout=self.drain_timeout,
            on_progress=self._on_progress,
            generators=self.generators,
        )

    async def issue(self, schedule: Schedule, payloads: Sequence[object]) -> Run:
        """Open loop: issue request *i* at ``schedule.offsets_ns[i]`` whether or not earlier ones came back.

        What has no answer ``drain_timeout`` seconds after the last request was due is ``UNFINISHED``; what could not
        be issued by then is ``UNISSUED``. Raises :class:`ValidationError` if the payloads do not match the schedule
        or cannot be sent, :class:`ConfigurationError` if there is no such cluster, :class:`LoadError` if a
        generator's process fails: nothing of the run is kept then. Cancelling ends the processes at once.
        """
        return await self._run(self._open_loop(schedule, payloads), seed=schedule.seed, digest=schedule.digest)

    async def issue_closed(
        self, payloads: Sequence[object], *, concurrency: int = 1, seed: int = 0, limit: float | None = None
    ) -> Run:
        """Closed loop: ``concurrency`` users, each sending its next request when its last one was answered.

        Such users slow down with the service, so the latencies say little about independent ones: right for warming
        up and for capacity, wrong for an SLO. The run says ``closed_loop``; a request counts as scheduled when it was
        issued. ``limit``: seconds after which no further request is issued; those are ``UNISSUED`` then. ``seed`` is
        only noted in the run. Raises as :meth:`issue` does.
        """
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise ValidationError(f"concurrency must be a whole number above zero, got {concurrency!r}")
        if limit is not None and (isinstance(limit, bool) or not 0 < limit < math.inf):
            raise ValidationError(f"limit must be a finite number of seconds above zero, got {limit!r}")
        work = Work(
            target=asdict(self.target),
            bodies=serialize(payloads),
            concurrency=concurrency,
            limit_ns=None if limit is None else round(limit * 1e9),
            progress=self._on_progress is not None,
        )
        return await self._run(work, seed=seed, digest=f"closed-loop:{concurrency}x{len(payloads)}")

    @contextlib.asynccontextmanager
    async def in_turns(
        self, schedule: Schedule, payloads: Sequence[object], turns: TurnPlan
    ) -> AsyncIterator[tuple[int, Callable[[], Awaitable[Run | None]]]]:
        """Open loop in turns: yield a pid, and what issues the next of ``turns`` and returns once it is drained.

        The last call returns the run, with what the generator used; those before return None. One process on this
        machine sends them all, whatever ``generators`` says. Raises as :meth:`issue` does.
        """
        work = replace(self._open_loop(schedule, payloads), turns=turns)
        left = len(turns)
        async with processes.in_turns(work, self._reporter(work)) as (pid, issue):

            async def turn() -> Run | None:
                nonlocal left
                left -= 1
                message = await issue()
                if left:
                    return None
                used = GeneratorUsage(**cast("dict[str, Any]", message.facts["usage"]))
                run = _as_run(message, work, seed=schedule.seed, digest=schedule.digest)
                return replace(run, resources=Resources(generator=used))

            yield pid, turn

    def _open_loop(self, schedule: Schedule, payloads: Sequence[object]) -> Work:
        if len(payloads) != len(schedule):
            raise ValidationError(
                f"the schedule has {len(schedule)} requests but there are {len(payloads)} payloads; give one each"
            )
        return Work(
            target=asdict(self.target),
            bodies=serialize(payloads),
            offsets_ns=schedule.offsets_ns,
            drain_ns=round(self.drain_timeout * 1e9),
            progress=self._on_progress is not None,
        )

    def _reporter(self, work: Work) -> Callable[[int, Mapping[str, object]], None]:
        if self._on_progress is None:
            return _ignore
        return ProgressSum(self._on_progress, scheduled=len(work.bodies), total_ns=work.total_ns).report

    async def _run(self, work: Work, *, seed: int, digest: str) -> Run:
        clocks: tuple[ClockOffset, ...] = ()
        report = self._reporter(work)
        if not len(work.bodies):
            result = _nothing()
        elif isinstance(self.generators, int):
            result = await processes.drive(work, self.generators, report)
        else:
            result, clocks = await _cluster_drive()(work, self.generators, report)
        return _as_run(result, work, seed=seed, digest=digest, clocks=clocks)


def _as_run(result: Message, work: Work, *, seed: int, digest: str, clocks: tuple[ClockOffset, ...] = ()) -> Run:
    arrays = result.arrays
    metrics = cast("list[str]", result.facts["server_timing"])
    return Run(
        scheduled_ns=cast("NDArray[np.int64]", arrays["scheduled_ns"]),
        issued_ns=cast("NDArray[np.int64]", arrays["issued_ns"]),
        completed_ns=cast("NDArray[np.int64]", arrays["completed_ns"]),
        status=cast("NDArray[np.int16]", arrays["status"]),
        failure=cast("NDArray[np.uint8]", arrays["failure"]),
        server_timing={
            name: cast("NDArray[np.float32]", arrays[f"server_timing.{number}"]) for number, name in enumerate(metrics)
        },
        seed=seed,
        digest=digest,
        payload_digest=work.bodies.digest(cast("str", work.target["method"])),
        closed_loop=work.offsets_ns is None,
        clocks=clocks,
    )


def _cluster_drive() -> Callable[..., Awaitable[tuple[Message, tuple[ClockOffset, ...]]]]:
    try:
        from pytest_inferbench.loadgen.dask import drive
    except ImportError as error:
        raise ConfigurationError(
            f"generators on a Dask cluster need pytest-inferbench[dask], here and on its workers ({error})"
        ) from None
    return drive


def _ignore(generator: int, facts: Mapping[str, object]) -> None:
    pass


def _nothing() -> Message:
    empty = np.empty(0, np.int64)
    names = ("scheduled_ns", "issued_ns", "completed_ns", "status", "failure")
    return Message("run", {"server_timing": []}, dict.fromkeys(names, empty))
