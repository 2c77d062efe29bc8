"""Signals the workers in a container, from inside: ``python3 -c SOURCE kill|freeze PORT NUMBER|all SECONDS``.

Says which processes it signalled. What is frozen goes on when the seconds are over, or as soon as its standard input,
a leash, is closed. ``python3 -c SOURCE usage`` says in JSON what the container has used since it started. Standalone,
and of the standard library only: it is sent into containers.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path


def disturb(verb: str, port: int, number: str, seconds: float) -> None:
    """Signal the workers, oldest first. Exits with a message if there are not so many."""
    workers = find_workers(port)
    chosen = workers if number == "all" else workers[: int(number)]
    if not chosen or (number != "all" and len(chosen) < int(number)):
        sys.exit(f"{number} workers should be disrupted, but only {len(workers)} were found")
    if 1 in chosen:
        sys.exit(
            "the worker is process 1 of its container, which cannot receive signals from within its namespace; "
            "set shareProcessNamespace: true for the pod, or use DeletePod"
        )
    for pid in chosen:
        os.kill(pid, signal.SIGKILL if verb == "kill" else signal.SIGSTOP)
    print("pid " + ", ".join(map(str, chosen)), flush=True)
    if verb == "freeze":
        select.select([0], [], [], seconds)
        for pid in chosen:
            os.kill(pid, signal.SIGCONT)


def find_workers(port: int, proc: Path = Path("/proc")) -> list[int]:
    """Return the pids that listen on ``port``, oldest first, without those that only hand the socket to a child."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        for words in map(str.split, _read(proc / "net" / table).splitlines()[1:]):
            if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{words[9]}]")
    started: dict[int, int] = {}
    parents = set()
    for folder in proc.iterdir():
        try:
            if folder.name.isdigit() and any(str(link.readlink()) in sockets for link in (folder / "fd").iterdir()):
                words = _read(folder / "stat").rpartition(")")[2].split()
                started[int(folder.name)] = int(words[19])
                parents.add(int(words[1]))
        except (OSError, IndexError):
            continue  # ended meanwhile, or somebody else's
    return sorted((pid for pid in started if pid not in parents), key=lambda pid: (started[pid], pid))


def usage(cgroups: Path = Path("/sys/fs/cgroup")) -> dict[str, float | None]:
    """Return CPU time and throttling (seconds) and peak memory (bytes), by control groups of version 2 or 1."""
    if (cgroups / "cgroup.controllers").exists():
        return {
            "cpu_seconds": _entry(cgroups / "cpu.stat", "usage_usec", 1e6),
            "peak_memory_bytes": _number(cgroups / "memory.peak", 1),
            "throttled_seconds": _entry(cgroups / "cpu.stat", "throttled_usec", 1e6),
        }
    return {
        "cpu_seconds": _number(cgroups / "cpuacct" / "cpuacct.usage", 1e9),
        "peak_memory_bytes": _number(cgroups / "memory" / "memory.max_usage_in_bytes", 1),
        "throttled_seconds": _entry(cgroups / "cpu" / "cpu.stat", "throttled_time", 1e9),
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path, scale: float) -> float | None:
    text = _read(path).strip()
    return int(text) / scale if text.isdigit() else None


def _entry(path: Path, key: str, scale: float) -> float | None:
    found = dict(line.split() for line in _read(path).splitlines())
    return int(found[key]) / scale if key in found else None


if __name__ == "__main__":
    if sys.argv[1] == "usage":
        print(json.dumps(usage()))
    else:
        disturb(sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
