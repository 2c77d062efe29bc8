"""The environment fingerprint: what is recorded of the machine and the software that a measurement was made on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

__all__ = ["Environment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What is recorded of a machine and its software.

    Only ``machine`` decides whether two measurements may be compared: CPU model and number of CPUs. The rest is
    shown where it differs, because it may be what changed the figures. ``revision``: what git calls the checkout, with
    "-dirty" after it if files are changed. ``locks``: digests of the files that pin dependencies, by name.
    """

    machine: str
    cpu: str
    cpus: int
    memory_gib: float
    system: str
    python: str
    packages: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None
    locks: Mapping[str, str] = field(default_factory=dict)

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
        locks = other.get("locks")
        before_locks = locks if isinstance(locks, Mapping) else {}
        for name in sorted(self.locks.keys() & before_locks.keys()):
            if self.locks[name] != before_locks[name]:
                changes.append(f"{name} changed")
        return tuple(changes)
