"""What is done to a service on purpose while it is measured, as values; `deployment/disruptor.py` carries it out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Literal

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.units import format_seconds, parse_seconds

__all__ = [
    "CLUSTER_ONLY",
    "Cordon",
    "CpuPressure",
    "DeletePod",
    "Disruption",
    "DisruptionEvent",
    "Freeze",
    "KillWorker",
    "LimitCpu",
    "MemoryPressure",
    "Restart",
    "Scale",
    "SlowNetwork",
    "check_disruptions",
    "describe_disruption",
    "disruption_identity",
    "instant",
]

Seconds = float | int | str
Workers = int | Literal["all"]

_BYTES = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}


@dataclass(frozen=True, slots=True)
class KillWorker:
    """SIGKILL for ``workers`` worker processes (a number, or ``"all"``), oldest first, ``at`` seconds into the run.

    A worker is a process that listens on the service's port; where a manager and its workers share the port, the
    manager is spared. Whether anybody starts another worker is the service's own affair, and what is measured. In
    Kubernetes workers are taken pod by pod, in order of the pods' names.
    """

    _: KW_ONLY
    at: Seconds
    workers: Workers = 1

    def __post_init__(self) -> None:
        _set_instant(self)
        _check_workers(self, self.workers)


@dataclass(frozen=True, slots=True)
class Freeze:
    """SIGSTOP for ``workers`` worker processes at ``at``, and SIGCONT after ``duration`` seconds.

    A frozen process keeps its connections and still accepts new ones into its queue, as one that swaps or collects
    garbage does: nothing fails at once, everything waits.
    """

    _: KW_ONLY
    at: Seconds
    duration: Seconds = 2.0
    workers: Workers = 1

    def __post_init__(self) -> None:
        _set_instant(self)
        _set_seconds(self, "duration")
        _check_workers(self, self.workers)


@dataclass(frozen=True, slots=True)
class Restart:
    """A graceful restart at ``at``: SIGTERM, and a new process in the place of each one that ended.

    Where a manager has several workers it is a rolling one: the next worker is asked to end ``pause`` seconds after
    the manager has replaced the one before. Otherwise the whole service ends and is started again. In Kubernetes it is
    a rollout of the Deployment, at the pace of its own strategy.
    """

    _: KW_ONLY
    at: Seconds
    pause: Seconds = 5.0

    def __post_init__(self) -> None:
        _set_instant(self)
        _set_seconds(self, "pause")


@dataclass(frozen=True, slots=True)
class CpuPressure:
    """``processes`` processes that compute without pause beside the service, from ``at`` for ``duration`` seconds.

    In Kubernetes they run inside the first pod's container, and share its CPU limit.
    """

    _: KW_ONLY
    at: Seconds
    duration: Seconds = 5.0
    processes: int = 1

    def __post_init__(self) -> None:
        _set_instant(self)
        _set_seconds(self, "duration")
        _check_count(self, "processes", self.processes, most=256)


@dataclass(frozen=True, slots=True)
class MemoryPressure:
    """A process that takes ``amount`` of memory and uses it, from ``at`` for ``duration`` seconds.

    In Kubernetes it runs inside the first pod's container, and counts towards its memory limit: beyond that, the
    cluster ends something there.

    ``amount``: ``"512MiB"``, ``"1GB"`` or bytes. Bounded: more than half of what is free is refused before any boot.
    """

    _: KW_ONLY
    at: Seconds
    duration: Seconds = 5.0
    amount: int | str = "256MiB"

    def __post_init__(self) -> None:
        _set_instant(self)
        _set_seconds(self, "duration")
        object.__setattr__(self, "amount", _parse_bytes(self.amount))


@dataclass(frozen=True, slots=True)
class SlowNetwork:
    """``delay`` seconds more on the way to the service, and as much on the way back, from ``at`` for ``duration``.

    The whole run goes through a proxy on this machine, which outside that time passes everything on at once.
    """

    _: KW_ONLY
    at: Seconds
    duration: Seconds = 5.0
    delay: Seconds = 0.1

    def __post_init__(self) -> None:
        _set_instant(self)
        _set_seconds(self, "duration")
        _set_seconds(self, "delay")


@dataclass(frozen=True, slots=True)
class DeletePod:
    """``pods`` pods (a number, or ``"all"``) deleted ``at`` seconds into the run. Kubernetes only.

    Taken are pods that take requests, in order of their names. They may finish what they have begun; if ``forced``,
    they are killed at once. The cluster makes others in their place.
    """

    _: KW_ONLY
    at: Seconds
    pods: Workers = 1
    forced: bool = False

    def __post_init__(self) -> None:
        _set_instant(self)
        if self.pods != "all":
            _check_count(self, "pods", self.pods, most=1000, otherwise=' or "all"')
        if not isinstance(self.forced, bool):
            raise ValidationError(f"DeletePod(forced=...): expected True or False, got {self.forced!r}")


@dataclass(frozen=True, slots=True)
class Scale:
    """The Deployment scaled to ``replicas`` at ``at``, and back after ``duration`` seconds. Kubernetes only."""

    _: KW_ONLY
    at: Seconds
    duration: Seconds = 5.0
    replicas: int = 1

    def __post_init__(self) -> None:
        _set_instant(self)
        _set_seconds(self, "duration")
        _check_count(self, "replicas", self.replicas, least=0, most=1000)


@dataclass(frozen=True, slots=True)
class LimitCpu:
    """The container's CPU limit in every pod set to ``cpu`` at ``at``, for ``duration`` seconds. Kubernetes only.

    ``cpu``: ``"250m"`` or CPUs. The pods are resized in place, which Kubernetes can from 1.33 on: none is restarted.
    """

    _: KW_ONLY
    at: Seconds
    duration: Seconds = 5.0
    cpu: float | str = "250m"

    def __post_init__(self) -> None:
        _set_instant(self)
        _set_seconds(self, "duration")
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(m?)\s*", str(self.cpu))
        cpus = float(match[1]) / (1000 if match[2] else 1) if match and not isinstance(self.cpu, bool) else 0.0
        if cpus < 0.001:
            raise ValidationError(f'LimitCpu(cpu=...): expected CPUs such as "250m" or 0.25, got {self.cpu!r}')
        object.__setattr__(self, "cpu", cpus)


@dataclass(frozen=True, slots=True)
class Cordon:
    """The node of the first pod closed for new pods from ``at``, for ``duration`` seconds. Kubernetes only.

    What runs there goes on; what is made meanwhile, after a `DeletePod` say, goes to another node. There must be one.
    """

    _: KW_ONLY
    at: Seconds
    duration: Seconds = 5.0

    def __post_init__(self) -> None:
        _set_instant(self)
        _set_seconds(self, "duration")


#: What is done to objects of a cluster, which a plain process does not have.
CLUSTER_ONLY = (DeletePod, Scale, LimitCpu, Cordon)
Disruption = (
    KillWorker | Freeze | Restart | CpuPressure | MemoryPressure | SlowNetwork | DeletePod | Scale | LimitCpu | Cordon
)
_KINDS = (KillWorker, Freeze, Restart, CpuPressure, MemoryPressure, SlowNetwork, *CLUSTER_ONLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class DisruptionEvent:
    """A disruption as it came about in one run: nanoseconds on the monotonic clock of the run's instants.

    ``began_ns``: when its effect set in, None if it could not be carried out. ``ended_ns``: when it was undone or
    complete. ``start_ns``: when the clock of the run started, from which ``at`` counts. ``detail``: what was done
    ("SIGKILL to pid 4711"), or why it could not be.
    """

    disruption: Disruption
    began_ns: int | None
    ended_ns: int | None
    start_ns: int
    detail: str

    @property
    def began(self) -> float | None:
        """Seconds since the run's start."""
        return None if self.began_ns is None else (self.began_ns - self.start_ns) / 1e9

    @property
    def ended(self) -> float | None:
        """Seconds since the run's start."""
        return None if self.ended_ns is None else (self.ended_ns - self.start_ns) / 1e9


def check_disruptions(disruptions: Sequence[Disruption], *, duration: float) -> tuple[Disruption, ...]:
    """Return them in order of their instants. Raises ValidationError for what is none, or comes after the run."""
    if isinstance(disruptions, str) or not isinstance(disruptions, Sequence):
        raise ValidationError(f"disruptions must be a list such as [KillWorker(at=5)], got {disruptions!r}")
    for disruption in disruptions:
        if not isinstance(disruption, _KINDS):
            known = ", ".join(kind.__name__ for kind in _KINDS)
            raise ValidationError(f"disruptions: {disruption!r} is none of {known}")
        if instant(disruption) >= duration:
            raise ValidationError(
                f"disruptions: {describe_disruption(disruption)} would come after the run, which lasts {duration:g} s; "
                "lower `at`, or lengthen the workload"
            )
    return tuple(sorted(disruptions, key=instant))


def instant(disruption: Disruption) -> float:
    """Return the planned instant, seconds into the run."""
    return float(disruption.at)


def disruption_identity(disruption: Disruption) -> dict[str, object]:
    """Return the kind and every parameter as plain JSON values."""
    return {"kind": type(disruption).__name__, **{f.name: getattr(disruption, f.name) for f in fields(disruption)}}


def describe_disruption(disruption: Disruption) -> str:
    """Return ``"Freeze at 5.00 s for 2.00 s, workers 1"``."""
    words = [f"{type(disruption).__name__} at {format_seconds(instant(disruption))}"]
    given = {f.name: getattr(disruption, f.name) for f in fields(disruption)}
    if "duration" in given:
        words.append(f"for {format_seconds(float(given['duration']))}")
    told = {name: value for name, value in given.items() if name not in ("at", "duration")}
    return " ".join(words) + "".join(f", {name} {value}" for name, value in told.items())


def _set_instant(disruption: Disruption) -> None:
    at = disruption.at
    if not isinstance(at, bool) and at == 0:
        object.__setattr__(disruption, "at", 0.0)
    else:
        _set_seconds(disruption, "at")


def _set_seconds(disruption: Disruption, name: str) -> None:
    what = f"{type(disruption).__name__}({name}=...)"
    value = getattr(disruption, name)
    if not isinstance(value, int | float | str):
        raise ValidationError(f'{what}: expected seconds or text such as "1.5s", got {value!r}')
    object.__setattr__(disruption, name, parse_seconds(value, what=what))


def _check_workers(disruption: Disruption, workers: object) -> None:
    if workers != "all":
        _check_count(disruption, "workers", workers, most=1024, otherwise=' or "all"')


def _check_count(
    disruption: Disruption, name: str, value: object, *, least: int = 1, most: int, otherwise: str = ""
) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        what = f"{type(disruption).__name__}({name}=...)"
        raise ValidationError(f"{what}: expected a whole number from {least} to {most}{otherwise}, got {value!r}")


def _parse_bytes(value: object) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(value))
    if isinstance(value, bool) or not isinstance(value, int | str) or match is None or match[2] not in _BYTES:
        raise ValidationError(f'MemoryPressure(amount=...): cannot read {value!r}; write it as "512MiB" or in bytes')
    amount = round(float(match[1]) * _BYTES[match[2]])
    if amount < 1:
        raise ValidationError(f"MemoryPressure(amount=...): must be at least one byte, got {value!r}")
    return amount
