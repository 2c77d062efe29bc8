"""Samples what the service's process tree and the load generator use while a run goes on.

A thread looks at the tree twice a second; what a process used since it was first seen counts until it was last seen,
so that workers which come or go during the run are not lost.
"""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from pytest_inferbench.runs.usage import GeneratorUsage, Resources, ServiceUsage

__all__ = ["ResourceMeter", "measured_resources"]

_INTERVAL_SECONDS = 0.5
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(slots=True)
class ResourceMeter:
    """What :func:`measured_resources` hands out: ``resources`` is there once its block has ended."""

    resources: Resources | None = None


@contextlib.contextmanager
def measured_resources(
    root: Callable[[], int] | None, *, proc: Path = Path("/proc"), cgroups: Path = _CGROUPS
) -> Iterator[ResourceMeter]:
    """Measure the tree under the process ``root`` (None: not on this machine), and our children that end in the block.

    ``root`` returns a pid, and is asked at every look: a service that is restarted has another one. Our children are
    the load generator's processes, where nothing else is waited for meanwhile. A process that cannot be read counts
    as what was read of it before; one that never could be read, and a pid that is gone, use nothing.
    """
    meter = ResourceMeter()
    tree = _Tree(root, proc, cgroups) if root is not None else None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    if tree is not None:
        tree.start()
    try:
        yield meter
    finally:
        service = None if tree is None else tree.stop()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        meter.resources = Resources(service=service, generator=_used(before, after))


def _used(before: resource.struct_rusage, after: resource.struct_rusage) -> GeneratorUsage:
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    switches = after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw
    return GeneratorUsage(cpu_seconds=seconds, context_switches=switches)


@dataclass(slots=True)
class _Seen:
    """One process: its counters when it was first and last read, since when they count from zero if it is new."""

    first: tuple[float, int]
    last: tuple[float, int]


class _Tree:
    def __init__(self, root: Callable[[], int], proc: Path, cgroups: Path) -> None:
        self._root = root
        self._proc = proc
        self._throttling = _throttling_file(proc / str(root()) / "cgroup", cgroups)
        self._seen: dict[tuple[int, float], _Seen] = {}
        self._peak = 0
        self._most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="inferbench-resources", daemon=True)
        self._throttled_ns: int | None = None

    def start(self) -> None:
        self._look(new=False)
        self._throttled_ns = _throttled_ns(self._throttling)
        self._thread.start()

    def stop(self) -> ServiceUsage:
        self._ended.set()
        self._thread.join()
        self._look(new=True)
        now_ns = _throttled_ns(self._throttling)
        known = now_ns is not None and self._throttled_ns is not None
        return ServiceUsage(
            cpu_seconds=sum(seen.last[0] - seen.first[0] for seen in self._seen.values()),
            peak_rss_bytes=self._peak,
            processes=self._most,
            context_switches=sum(seen.last[1] - seen.first[1] for seen in self._seen.values()),
            throttled_seconds=((now_ns or 0) - (self._throttled_ns or 0)) / 1e9 if known else None,
        )

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL_SECONDS):
            self._look(new=True)

    def _look(self, *, new: bool) -> None:
        """Read every process of the tree; one that was not there before counts from zero if ``new``."""
        resident = alive = 0
        for process in self._processes():
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    key = (process.pid, process.create_time())
                    resident += process.memory_info().rss
                counters = (times.user + times.system, _switches(self._proc / str(process.pid), process))
            except psutil.Error:
                continue
            alive += 1
            first = (0.0, 0) if new else counters
            # A thread that ended took its switches with it: no counter runs backwards.
            seen = self._seen.setdefault(key, _Seen(first, counters))
            seen.last = (max(seen.last[0], counters[0]), max(seen.last[1], counters[1]))
        self._peak = max(self._peak, resident)
        self._most = max(self._most, alive)

    def _processes(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._root())
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            return []


def _switches(folder: Path, process: psutil.Process) -> int:
    """Return the context switches of all threads: the kernel's counters of a process are its first thread's only."""
    total, found = 0, False
    with contextlib.suppress(OSError):
        for thread in (folder / "task").iterdir():
            with contextlib.suppress(OSError, ValueError):
                for line in (thread / "status").read_text(encoding="ascii", errors="replace").splitlines():
                    if "voluntary_ctxt_switches:" in line:
                        total, found = total + int(line.rpartition(":")[2]), True
    return total if found else sum(process.num_ctx_switches())


def _throttling_file(membership: Path, cgroups: Path) -> Path | None:
    """Return the ``cpu.stat`` that counts throttling for a process, version 2 or 1; None where there is none."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        below = path.lstrip("/")
        if not controllers:
            candidates = [cgroups / below / "cpu.stat", cgroups / "unified" / below / "cpu.stat"]
        elif "cpu" in controllers.split(","):
            candidates = [cgroups / controllers / below / "cpu.stat", cgroups / "cpu" / below / "cpu.stat"]
        else:
            continue
        for candidate in candidates:
            if _throttled_ns(candidate) is not None:
                return candidate
    return None


def _throttled_ns(stat: Path | None) -> int | None:
    if stat is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        for line in stat.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == "throttled_usec":
                return int(value) * 1000
            if name == "throttled_time":
                return int(value)
    return None
