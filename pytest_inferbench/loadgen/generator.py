"""The load generator as its users see it: a target and a schedule in, a ``Run`` out."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.arrivals import Schedule
from pytest_inferbench.errors import LoadError, ValidationError
from pytest_inferbench.loadgen.payloads import Bodies, serialize
from pytest_inferbench.loadgen.progress import Progress
from pytest_inferbench.loadgen.target import Target
from pytest_inferbench.loadgen.wire import Message, receive, send
from pytest_inferbench.run import Run

__all__ = ["LoadGenerator"]

_STDERR_LINES = 20
_EXIT_SECONDS = 10.0


class LoadGenerator:
    """Drives ``target`` from a process of its own, so that nothing in this one can disturb the clock.

    ``drain_timeout``: how many seconds after the last request is due to wait for answers. ``on_progress`` is called
    in the caller's event loop, several times a second. Raises :class:`ValidationError` for a target without a host.
    """

    def __init__(
        self,
        target: Target,
        *,
        drain_timeout: float = 30.0,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        if not target.is_absolute:
            raise ValidationError(
                f"target {target.url!r} is a path without a host; resolve it with target.at('http://host:port')"
            )
        if isinstance(drain_timeout, bool) or not 0 <= drain_timeout < math.inf:
            raise ValidationError(f"drain_timeout must be a finite number of seconds, got {drain_timeout!r}")
        if target.ca_file is not None and not Path(target.ca_file).is_file():
            raise ValidationError(f"Target.ca_file {target.ca_file!r} is not a file")
        self.target = target
        self.drain_timeout = drain_timeout
        self._on_progress = on_progress

    async def issue(self, schedule: Schedule, payloads: Sequence[object]) -> Run:
        """Open loop: issue request *i* at ``schedule.offsets_ns[i]`` whether or not earlier ones came back.

        What has no answer ``drain_timeout`` seconds after the last request was due is ``UNFINISHED``; what could not
        be issued by then is ``UNISSUED``. Raises :class:`ValidationError` if the payloads do not match the schedule
        or cannot be sent, :class:`LoadError` if the generator's process fails. Cancelling ends that process at once.
        """
        if len(payloads) != len(schedule):
            raise ValidationError(
                f"the schedule has {len(schedule)} requests but there are {len(payloads)} payloads; give one each"
            )
        facts: dict[str, object] = {"drain_ns": round(self.drain_timeout * 1e9)}
        result = await self._run(facts, {"offsets_ns": schedule.offsets_ns}, bodies := serialize(payloads))
        return self._as_run(result, bodies, seed=schedule.seed, digest=schedule.digest, closed_loop=False)

    async def issue_closed(self, payloads: Sequence[object], *, concurrency: int = 1) -> Run:
        """Closed loop: ``concurrency`` users, each sending its next request when its last one was answered.

        Such users slow down with the service, so the latencies say little about independent ones: right for warming
        up and for capacity, wrong for an SLO. The run says ``closed_loop``; a request counts as scheduled when it was
        issued. Raises as :meth:`issue` does.
        """
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise ValidationError(f"concurrency must be a whole number above zero, got {concurrency!r}")
        bodies = serialize(payloads)
        result = await self._run({"concurrency": concurrency}, {}, bodies)
        digest = f"closed-loop:{concurrency}x{len(payloads)}"
        return self._as_run(result, bodies, seed=0, digest=digest, closed_loop=True)

    def _as_run(self, result: Message, bodies: Bodies, *, seed: int, digest: str, closed_loop: bool) -> Run:
        arrays = result.arrays
        metrics = cast("list[str]", result.facts["server_timing"])
        return Run(
            scheduled_ns=cast("NDArray[np.int64]", arrays["scheduled_ns"]),
            issued_ns=cast("NDArray[np.int64]", arrays["issued_ns"]),
            completed_ns=cast("NDArray[np.int64]", arrays["completed_ns"]),
            status=cast("NDArray[np.int16]", arrays["status"]),
            failure=cast("NDArray[np.uint8]", arrays["failure"]),
            server_timing={
                name: cast("NDArray[np.float32]", arrays[f"server_timing.{number}"])
                for number, name in enumerate(metrics)
            },
            seed=seed,
            digest=digest,
            payload_digest=bodies.digest(self.target.method),
            closed_loop=closed_loop,
        )

    async def _run(
        self, facts: Mapping[str, object], arrays: Mapping[str, NDArray[np.generic]], bodies: Bodies
    ) -> Message:
        if not len(bodies):
            return _nothing()
        job = Message(
            "job",
            {**facts, "target": asdict(self.target), "progress": self._on_progress is not None},
            {**arrays, **bodies.arrays},
        )
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryFile() as stderr:
            # From the loop's own thread: the kernel ends the worker when the *thread* that started it ends.
            worker = subprocess.Popen(  # noqa: ASYNC220  # a few milliseconds, before any clock starts
                [sys.executable, "-P", "-m", "pytest_inferbench.loadgen.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=_worker_environment(),
            )
            # A thread of our own: the default executor may be full of the caller's work.
            talker = ThreadPoolExecutor(1, "inferbench-loadgen")
            try:
                return await loop.run_in_executor(talker, self._converse, worker, job, loop)
            except (EOFError, OSError, ValueError) as error:
                _end(worker)
                raise LoadError(_epitaph(worker.returncode, _tail(stderr), error)) from None
            finally:
                _end(worker)  # which ends the conversation too
                talker.shutdown()

    def _converse(self, worker: subprocess.Popen[bytes], job: Message, loop: asyncio.AbstractEventLoop) -> Message:
        """Hand over the job, pass reports on, return the result; in a thread, so that a busy loop delays nothing."""
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            send(worker.stdin, job)
            while (message := receive(worker.stdout)).kind == "progress":
                if self._on_progress is not None:
                    loop.call_soon_threadsafe(self._on_progress, _progress(message.facts))
        except (EOFError, OSError):
            # Its pipes closed first; let it end by itself, so that the true cause is reported.
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(_EXIT_SECONDS)
            raise
        return message


def _nothing() -> Message:
    empty = np.empty(0, np.int64)
    names = ("scheduled_ns", "issued_ns", "completed_ns", "status", "failure")
    return Message("run", {"server_timing": []}, dict.fromkeys(names, empty))


def _progress(facts: Mapping[str, object]) -> Progress:
    numbers = cast("Mapping[str, int]", facts)
    return Progress(
        elapsed=numbers["elapsed_ns"] / 1e9,
        total=numbers["total_ns"] / 1e9,
        scheduled=numbers["scheduled"],
        issued=numbers["issued"],
        completed=numbers["completed"],
        failed=numbers["failed"],
    )


def _worker_environment() -> dict[str, str]:
    """Return our environment without what would trace, slow or alter the worker, and with our import path.

    PYTHON* and coverage variables reach into every Python process; the worker is not under test.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_CORE_", "COVERAGE_"))
    }
    if "PYTHONHOME" in os.environ:
        environment["PYTHONHOME"] = os.environ["PYTHONHOME"]
    environment["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return environment


def _end(worker: subprocess.Popen[bytes]) -> None:
    """End the worker if it still runs, and close its pipes: in this order, for a thread may be waiting on them."""
    if worker.poll() is None:
        worker.kill()
        worker.wait(_EXIT_SECONDS)
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was still to be flushed has nowhere to go
                pipe.close()


def _tail(stderr: IO[bytes]) -> str:
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-_STDERR_LINES:])


def _epitaph(returncode: int | None, tail: str, error: Exception) -> str:
    if returncode is not None and returncode < 0:
        end = f"was ended by {signal.Signals(-returncode).name}"
    else:
        end = f"ended with status {returncode}"
    said = f"it said:\n{tail}" if tail else f"it said nothing ({type(error).__name__}: {error})"
    return f"the load generator's process {end} before the run was over; nothing of the run is kept; {said}"
