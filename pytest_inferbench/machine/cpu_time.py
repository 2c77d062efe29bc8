"""Who used the CPUs between two instants: the processes of ours, and everybody else."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psutil

__all__ = ["CpuSnapshot", "cpu_seconds_of", "others_by_name", "share_of_others", "take_cpu_snapshot"]

#: A process is its pid and the instant it was created at: pids are used again.
_Key = tuple[int, float]


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CpuSnapshot:
    """The CPU time of every process that can be seen, and of the machine, at one instant.

    ``busy``: seconds that the CPUs together were not idle since the machine started, those included that a hypervisor
    withheld (steal).
    """

    at: float
    busy: float
    cpus: int
    processes: Mapping[_Key, _Process]


def take_cpu_snapshot() -> CpuSnapshot:
    """Read all processes; the more there are, the longer it takes."""
    found: dict[_Key, _Process] = {}
    for process in psutil.process_iter():
        try:
            with process.oneshot():
                times = process.cpu_times()
                key = process.pid, process.create_time()
                found[key] = _Process(process.ppid(), process.name(), times.user + times.system)
        except psutil.Error:
            continue
    machine = psutil.cpu_times()
    busy = sum(getattr(machine, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal"))
    return CpuSnapshot(time.monotonic(), busy, psutil.cpu_count() or 1, found)


def cpu_seconds_of(root: int, before: CpuSnapshot, after: CpuSnapshot) -> float:
    """Return the CPU time that process ``root`` and its descendants used from one snapshot to the other."""
    return _used(_tree(root, after), before, after)


def share_of_others(before: CpuSnapshot, after: CpuSnapshot, *, ours: Iterable[int]) -> float:
    """Return the CPU time of everybody else from one snapshot to the other, as a share of that of all CPUs.

    ``ours``: roots of process trees that do not count, nor does this process itself (but what it started, if it is not
    in ``ours``). What the hypervisor withheld counts as others'.
    """
    elapsed = (after.at - before.at) * after.cpus
    if elapsed <= 0:
        return 0.0
    return max(0.0, after.busy - before.busy - _used(_mine(ours, after), before, after)) / elapsed


def others_by_name(before: CpuSnapshot, after: CpuSnapshot, *, ours: Iterable[int]) -> dict[str, float]:
    """Return the CPU seconds of the processes that `share_of_others` counts, by name, the largest first."""
    mine = _mine(ours, after)
    found: dict[str, float] = {}
    for key, process in after.processes.items():
        if key not in mine and (spent := _used({key}, before, after)) > 0:
            found[process.name] = found.get(process.name, 0.0) + spent
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _mine(ours: Iterable[int], snapshot: CpuSnapshot) -> set[_Key]:
    this = {key for key in snapshot.processes if key[0] == os.getpid()}
    return this.union(*(_tree(root, snapshot) for root in ours))


def _used(keys: set[_Key], before: CpuSnapshot, after: CpuSnapshot) -> float:
    nothing = _Process(0, "", 0.0)
    return sum(
        max(0.0, after.processes[key].seconds - before.processes.get(key, nothing).seconds)
        for key in keys
        if key in after.processes
    )


def _tree(root: int, snapshot: CpuSnapshot) -> set[_Key]:
    children: dict[int, list[_Key]] = {}
    for key, process in snapshot.processes.items():
        children.setdefault(process.parent, []).append(key)
    found = {key for key in snapshot.processes if key[0] == root}
    waiting = list(found)
    while waiting:
        for key in children.get(waiting.pop()[0], []):
            if key not in found:
                found.add(key)
                waiting.append(key)
    return found
