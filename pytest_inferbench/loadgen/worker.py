"""The process that sends: ``python -m pytest_inferbench.loadgen.worker``.

On stdin a job, then "go" with the instant to start at; on stdout "ready" between the two, reports of progress, and
the facts. Neither instant nor job says which share of a schedule this is: one generator or several, it is the same.
A job in several turns has a "go" for each, and after each but the last "drained" is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from pytest_inferbench.errors import InferbenchError, LoadError
from pytest_inferbench.loadgen.client import HttpClient
from pytest_inferbench.loadgen.messages import Message, encode_header, receive, send
from pytest_inferbench.loadgen.pacing import closed_loop, exact_event_loop, open_loop
from pytest_inferbench.loadgen.payloads import Bodies
from pytest_inferbench.loadgen.recorder import Recorder
from pytest_inferbench.loadgen.target import ResponseCheck, Target

__all__ = ["main"]

_LEAD_NS = 20_000_000  #: from "ready" to the start of the schedule, so that the first request is not late
_PROGRESS_SECONDS = 0.2
_DESCRIPTORS = 65_536  #: as many as we ask for, where the hard limit allows; one per connection in flight
_NICE = -10  #: beside a service that takes every core: the generator needs little, but at once
_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29


def main() -> None:
    """Do one job and exit: 0 when its facts are written, 1 with a message on stderr otherwise."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then ends this process
    _prepare_process()
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the kernel was told to mind it
    # Whatever a response check prints goes to stderr: the real stdout carries messages.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        job = receive(sys.stdin.buffer)
        with asyncio.Runner(loop_factory=exact_event_loop) as runner:
            result = runner.run(_drive(job, out))
            send(out, result)
            # Not worth a tidy end: thousands of idle connections would be closed one by one.
            os._exit(0)
    except (InferbenchError, EOFError, BrokenPipeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def _prepare_process() -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # not even a SIGKILL of the parent leaves us behind
        libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # wake up when asked to, not up to 50 µs later
    with contextlib.suppress(OSError):  # needs a privilege; measured in benchmarks/studies/loadgen_fidelity.py
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (_DESCRIPTORS, 10_240):  # macOS refuses more than its per-process maximum
        try:
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
            )
            return
        except (ValueError, OSError):
            continue


async def _drive(job: Message, out: IO[bytes]) -> Message:
    loop = asyncio.get_running_loop()
    facts = job.facts
    target = _target(cast("dict[str, object]", facts["target"]))
    bodies = Bodies.of(job.arrays)
    recorder = Recorder(len(bodies))
    offsets_ns = cast("NDArray[np.int64] | None", job.arrays.get("offsets_ns"))
    scheduled_ns = recorder.issued_ns if offsets_ns is None else np.full(len(bodies), -1, np.int64)
    async with HttpClient(target, bodies) as client:
        gc.collect()
        gc.freeze()
        gc.disable()
        os.set_blocking(out.fileno(), True)
        send(out, Message("ready"))
        turns = _turns(facts, len(bodies))
        for number, (first, last, begin_ns) in enumerate(turns):
            start_ns = await _start(first=not number)
            # End of input before we are done: the parent is gone or has given up.
            loop.add_reader(0, _exit_on_end_of_input)
            os.set_blocking(out.fileno(), False)
            reporter = None
            if offsets_ns is not None:
                scheduled_ns[first:last] = offsets_ns[first:last] - begin_ns + start_ns
            if facts["progress"]:
                total_ns = 0 if offsets_ns is None else int(offsets_ns[-1])
                seen = scheduled_ns[:last]
                reporter = loop.create_task(_report(recorder, seen, start_ns - begin_ns, start_ns, total_ns, out))
            if offsets_ns is None:
                concurrency, limit_ns = cast(int, facts["concurrency"]), cast("int | None", facts["limit_ns"])
                await closed_loop(client.send, recorder, concurrency, limit_ns=limit_ns)
            else:
                await open_loop(
                    client.send, recorder, scheduled_ns[:last], drain_ns=cast(int, facts["drain_ns"]), first=first
                )
            if reporter is not None:
                reporter.cancel()
            loop.remove_reader(0)
            os.set_blocking(out.fileno(), True)
            if number < len(turns) - 1:
                send(out, Message("drained"))
    arrays: dict[str, NDArray[np.generic]] = {
        "scheduled_ns": scheduled_ns,
        "issued_ns": recorder.issued_ns,
        "completed_ns": recorder.completed_ns,
        "status": recorder.status,
        "failure": recorder.failure,
    }
    metrics = list(recorder.server_timing)
    arrays |= {f"server_timing.{number}": recorder.server_timing[name] for number, name in enumerate(metrics)}
    used = resource.getrusage(resource.RUSAGE_SELF)
    usage = {"cpu_seconds": used.ru_utime + used.ru_stime, "context_switches": used.ru_nvcsw + used.ru_nivcsw}
    return Message("run", {"server_timing": metrics, "usage": usage}, arrays)


def _turns(facts: Mapping[str, object], n: int) -> list[tuple[int, int, int]]:
    """Return of each turn of ``n`` requests the first one, the one after its last, and the offset it begins at."""
    firsts = cast("list[int]", facts.get("turns_first", [0]))
    begins = cast("list[int]", facts.get("turns_ns", [0]))
    return list(zip(firsts, [*firsts[1:], n], begins, strict=True))


async def _start(*, first: bool) -> int:
    """Return the instant to start at: the one agreed on, or our own choice."""
    if first:
        message = receive(sys.stdin.buffer)  # nothing else to do meanwhile: let it block
    else:  # between turns connections are looked after: what the service closes meanwhile is noticed
        message = await asyncio.get_running_loop().run_in_executor(None, receive, sys.stdin.buffer)
    agreed = message.facts["start_ns"]
    if agreed is None:
        return time.monotonic_ns() + _LEAD_NS
    start_ns = cast(int, agreed)
    if (late := time.monotonic_ns() - start_ns) > 0:
        raise LoadError(f"the word to start came {late / 1e6:.1f} ms after the instant that all generators agreed on")
    await asyncio.sleep(max(0, start_ns - _LEAD_NS - time.monotonic_ns()) / 1e9)
    return start_ns


def _target(facts: dict[str, object]) -> Target:
    check = facts.pop("check")
    return Target(**facts, check=ResponseCheck(**check) if isinstance(check, dict) else None)  # type: ignore[arg-type]


def _exit_on_end_of_input() -> None:
    if not os.read(0, 1):
        os._exit(1)


async def _report(
    recorder: Recorder, scheduled_ns: NDArray[np.int64], zero_ns: int, start_ns: int, total_ns: int, out: IO[bytes]
) -> None:
    """Write how far the run is, from ``start_ns`` on, several times a second; leave one out rather than wait.

    ``zero_ns``: the instant of offset 0, by the clock of this turn."""
    await asyncio.sleep(max(0, start_ns - time.monotonic_ns()) / 1e9)
    while True:
        facts = {
            "elapsed_ns": max(0, time.monotonic_ns() - zero_ns),
            "total_ns": total_ns,
            "scheduled": len(recorder),
            "issued": recorder.count_issued,
            "completed": recorder.count_completed,
            "failed": recorder.count_failed,
            **recorder.recent_figures(scheduled_ns, time.monotonic_ns()),
        }
        with contextlib.suppress(BlockingIOError):  # nobody reads just now; the next report says more anyway
            # Smaller than PIPE_BUF, so it is written whole or not at all.
            os.write(out.fileno(), encode_header(Message("progress", facts)))
        await asyncio.sleep(_PROGRESS_SECONDS)


if __name__ == "__main__":
    main()
