"""Who used the CPUs between two instants."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from pytest_inferbench.machine.cpu_time import (
    CpuSnapshot,
    cpu_seconds_of,
    others_by_name,
    share_of_others,
    take_cpu_snapshot,
)

BUSY = "import sys, time\nprint(1, flush=True)\nwhile True: pass"


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    """A process that computes all the time."""
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def after_using(pid: int, seconds: float) -> CpuSnapshot:
    """Return a snapshot once process ``pid`` has used so much more CPU time."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    until = times.user + times.system + seconds
    while (times := process.cpu_times()).user + times.system < until:
        pass
    return take_cpu_snapshot()


def test_a_process_of_neither_system_counts_as_another(busy: subprocess.Popen[bytes]) -> None:
    """What is not in a tree of ours counts by name and in the share; in a tree of ours it does not."""
    before = take_cpu_snapshot()
    after = after_using(busy.pid, 0.3)
    assert cpu_seconds_of(busy.pid, before, after) >= 0.29
    named = others_by_name(before, after, ours=[])
    assert named[psutil.Process(busy.pid).name()] >= 0.29
    with_it, without = (share_of_others(before, after, ours=ours) for ours in ([], [busy.pid]))
    used = cpu_seconds_of(busy.pid, before, after) / ((after.at - before.at) * after.cpus)
    assert with_it - without == pytest.approx(used, abs=1e-9) or without == 0


def test_this_process_is_none_of_the_others() -> None:
    """What the session itself computes between turns is not held against the machine."""
    before = take_cpu_snapshot()
    after = after_using(psutil.Process().pid, 0.2)
    own = cpu_seconds_of(psutil.Process().pid, before, after)
    assert own >= 0.19
    others = share_of_others(before, after, ours=[]) * (after.at - before.at) * after.cpus
    assert others == pytest.approx(max(0.0, after.busy - before.busy - own), abs=1e-9)


def test_a_tree_holds_the_children_of_children() -> None:
    """The descendants of a root belong to it, and a pid that is gone has nothing."""
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}])"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        parent.stdout.readline()
        (child,) = psutil.Process(parent.pid).children()
        before = take_cpu_snapshot()
        after = after_using(child.pid, 0.2)
        assert cpu_seconds_of(parent.pid, before, after) >= 0.19
        child.kill()
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert cpu_seconds_of(2**22 + 1, before, after) == 0
