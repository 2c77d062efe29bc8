"""The environment a measurement was made in: which machine, and what ran on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

__all__ = ["Environment", "describe_environment"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What is recorded of a machine and its software.

    Only ``machine`` decides whether two measurements may be compared: CPU model and number of CPUs. The rest is
    shown where it differs, because it may be what changed the figures.
    """

    machine: str
    cpu: str
    cpus: int
    memory_gib: float
    system: str
    python: str
    packages: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values."""
        return asdict(self)

    def differences(self, other: Mapping[str, object]) -> tuple[str, ...]:
        """Return ``"torch 2.12 -> 2.13"`` for everything in which ``other``, the earlier one, differs."""
        changes: list[str] = []
        for name in ("cpu", "cpus", "system", "python", "revision"):
            before, now = other.get(name), getattr(self, name)
            if before != now:
                changes.append(f"{name} {before} -> {now}")
        packages = other.get("packages")
        before_packages = packages if isinstance(packages, Mapping) else {}
        for name in sorted({*self.packages, *before_packages}):
            before, now = before_packages.get(name, "absent"), self.packages.get(name, "absent")
            if before != now:
                changes.append(f"{name} {before} -> {now}")
        return tuple(changes)


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
    )


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _cpu_model() -> str:
    """Return the CPU's name with family and model where Linux tells them: hypervisors shorten the name alone."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    fields: dict[str, str] = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.+)$", text, re.MULTILINE))
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields and "model" in fields:
        name += f" family {fields['cpu family']} model {fields['model']}"
    return name


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision(root: Path) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
