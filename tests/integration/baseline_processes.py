"""Processes that update one stored baseline, killed at chosen places or all at once; prints what came of it as JSON.

Run as ``python baseline_processes.py SCENARIO FOLDER``: it forks, which a process with threads (pytest) should not.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

from pytest_inferbench.runs.run import Run
from pytest_inferbench.storage import baselines
from pytest_inferbench.storage.baselines import Baseline, BaselineStore

KEY = {"profile": "baseline", "machine": "cpu-2cpu", "test": "t.py::test_x"}


def baseline(name: str, recorded: str, requests: int = 20) -> Baseline:
    """Some baseline that can be told from another by ``recorded``."""
    at = np.arange(requests) * 1_000_000
    run = Run(scheduled_ns=at, issued_ns=at, completed_ns=at + 5_000_000, status=np.full(requests, 200))
    return Baseline(workload={"name": name}, environment={"cpu": "x"}, recorded=recorded, runs=(run, run))


def fork(work: Callable[[], object]) -> int:
    """Do ``work`` in a child, which ends with status 0 if it returns and 1 if it raises; return the child's id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    return child


def end_of(child: int) -> int:
    """Wait for a child; return its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_before_step(step: int, work: Callable[[], object]) -> Callable[[], object]:
    """Return ``work`` that kills its process before the n-th line that it runs in the module of the store."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        code: CodeType = frame.f_code
        if code.co_filename != baselines.__file__:
            return None
        if event == "line":
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def traced() -> None:
        sys.settrace(trace)
        work()

    return traced


def everywhere(root: Path) -> dict[str, object]:
    """Kill an update before each of its lines in turn; see what is stored, and whether the next update is hindered."""
    store = BaselineStore(root, patience=0)
    old, new = baseline("steady", "old"), baseline("steady", "new")
    path = store.update(old, **KEY)
    whole_old = path.read_bytes()
    store.update(new, **KEY)
    whole_new = path.read_bytes()
    seen: list[str] = []
    for step in range(1, 1000):
        store.update(old, **KEY)
        left = [entry.name for entry in path.parent.iterdir()]
        if left != [path.name]:
            raise AssertionError(f"the update after step {step - 1} left {left}")
        if end_of(fork(killed_before_step(step, lambda: store.update(new, **KEY)))) == 0:
            break
        content = path.read_bytes()
        seen.append("old" if content == whole_old else "new" if content == whole_new else "broken")
    return {"seen": seen, "finished": path.read_bytes() == whole_new}


def anytime(root: Path, kills: int = 25) -> dict[str, object]:
    """Kill a process that updates a large file all the time, at moments that nobody chose."""
    store = BaselineStore(root)
    name, bystander = "steady", baseline("bursty", "untouched")
    versions = [baseline(name, str(number), 3000) for number in range(2)]
    store.update(bystander, **KEY)
    store.update(versions[0], **KEY)

    def work() -> None:
        while True:
            for version in versions:
                store.update(version, **KEY)

    rng, seen = random.Random(1), []
    for _ in range(kills):
        child = fork(work)
        time.sleep(rng.uniform(0.005, 0.05))
        os.kill(child, signal.SIGKILL)
        if end_of(child) != -signal.SIGKILL:
            raise AssertionError("the process ended by itself")
        loaded = store.load(**KEY)
        seen.append(f"{loaded[name].recorded}, {len(loaded[name].runs[0])} requests, {loaded['bursty'].recorded}")
    store.update(versions[0], **KEY)
    return {"seen": seen, "left": [path.name for path in store.path(**KEY).parent.iterdir()]}


def together(root: Path, writers: int = 8, updates: int = 6) -> dict[str, object]:
    """Update different workloads of one file in many processes at once, while it is read all the time."""
    store = BaselineStore(root)
    starting_gun = os.pipe()

    def write(writer: int) -> None:
        os.close(starting_gun[1])
        os.read(starting_gun[0], 1)  # ends for all at once, when the other end is closed
        for number in range(updates):
            one = baseline(f"w{writer}-{number}", "first")
            store.update(one, **KEY)
            store.update(replace(one, recorded="second"), **KEY)

    children = [fork(lambda writer=writer: write(writer)) for writer in range(writers)]
    os.close(starting_gun[1])
    known: set[str] = set()
    lost: set[str] = set()
    reads, running = 0, set(children)
    while running:
        names = set(store.load(**KEY))
        lost |= known - names
        known |= names
        reads += 1
        done, status = os.waitpid(-1, os.WNOHANG)
        if done:
            running.discard(done)
            if status:
                raise AssertionError("a writer failed")
    stored = {name: entry.recorded for name, entry in store.load(**KEY).items()}
    return {"stored": stored, "lost": sorted(lost), "left": len(list(store.path(**KEY).parent.iterdir()))}


if __name__ == "__main__":
    scenario = {"everywhere": everywhere, "anytime": anytime, "together": together}[sys.argv[1]]
    print(json.dumps(scenario(Path(sys.argv[2]))))
