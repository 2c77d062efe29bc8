"""Prints as JSON what a container has used since it started: ``python3 -c SOURCE`` inside the container.

Needs the standard library only.
"""

from __future__ import annotations

import json
from pathlib import Path


def read_usage(cgroups: Path = Path("/sys/fs/cgroup")) -> dict[str, float | None]:
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
    print(json.dumps(read_usage()))
