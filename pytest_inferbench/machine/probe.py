"""Reads the environment that a measurement is made in: which machine, and what runs on it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

import psutil

from pytest_inferbench.runs.environment import Environment

__all__ = ["describe_environment", "free_memory"]

#: Distributions whose version may be what changed a latency.
_DISTRIBUTIONS = (
    "pytest-inferbench",
    "bentoml",
    "torch",
    "transformers",
    "onnxruntime",
    "tokenizers",
    "numpy",
    "uvicorn",
)

_LOCK_FILES = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml", "requirements*.txt")


def describe_environment(root: Path) -> Environment:
    """Read the machine, the installed versions, and the git revision of ``root`` (None outside a repository)."""
    cpu, cpus = _cpu_model(), _usable_cpus()
    return Environment(
        machine=f"{re.sub(r'[^a-z0-9]+', '-', cpu.lower()).strip('-')}-{cpus}cpu",
        cpu=cpu,
        cpus=cpus,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages={name: version for name in _DISTRIBUTIONS if (version := _version(name)) is not None},
        revision=_revision(root),
        locks=_locks(root),
    )


def free_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many bytes can still be taken: of the machine, or of the limit of a container if that is less.

    ``cgroup``: the folder of the control group (version 2) that a container sees as its own.
    """
    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no limit ("max"), or no such files
        limit = int((cgroup / "memory.max").read_text(encoding="ascii"))
        free = min(free, max(0, limit - int((cgroup / "memory.current").read_text(encoding="ascii"))))
    return free


def _locks(root: Path) -> dict[str, str]:
    """Return digests of the files that pin dependencies, in ``root`` and above it within its repository."""
    above = list(root.parents)
    within = next((k for k, folder in enumerate((root, *above)) if (folder / ".git").exists()), 0)
    found: dict[str, str] = {}
    for folder in (root, *above[:within]):
        for path in sorted(path for pattern in _LOCK_FILES for path in folder.glob(pattern)):
            with contextlib.suppress(OSError):
                found.setdefault(path.name, hashlib.sha256(path.read_bytes()).hexdigest()[:16])
    return found


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _cpu_model() -> str:
    """Return the CPU's name, with the numbers that tell models apart where hypervisors and ARM shorten or omit it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        # macOS; the platform module says "arm" of every Apple chip.
        return _said("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or platform.machine()
    fields: dict[str, str] = dict(
        re.findall(r"^(model name|cpu family|model|CPU implementer|CPU part)\s*:\s*(.+)$", text, re.MULTILINE)
    )
    name = fields.get("model name", platform.machine())
    for numbers in (("cpu family", "model"), ("CPU implementer", "CPU part")):
        if all(number in fields for number in numbers):
            name += "".join(f" {number.split()[-1]} {fields[number]}" for number in numbers)
    return name


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision(root: Path) -> str | None:
    return _said("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")


def _said(*command: str) -> str | None:
    """Return what a command prints; None if there is no such command, it fails or says nothing."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (result.stdout.strip() or None) if result.returncode == 0 else None
