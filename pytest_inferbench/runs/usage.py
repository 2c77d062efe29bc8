"""What a run used: CPU time, memory and context switches of the service and of the load generator."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GeneratorUsage", "PodUsage", "Resources", "ServiceUsage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUsage:
    """The service's process tree from the first request to the last answer.

    ``cpu_seconds``: user and system, of all its processes. ``peak_rss_bytes``: the largest sum of their resident sets
    that was seen (pages that processes share count in each). ``context_switches``: of all their threads, voluntary
    and not. ``throttled_seconds``: how long its control group was kept from running by a CPU quota; None where that
    cannot be read. ``idle_cpus``: how many CPUs it kept busy while nothing was sent to it, because the other system had
    its turn; None where it was alone. That time is not part of ``cpu_seconds``.
    """

    cpu_seconds: float
    peak_rss_bytes: int
    processes: int
    context_switches: int
    throttled_seconds: float | None = None
    idle_cpus: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorUsage:
    """The load generator's processes on this machine, from their start to their end."""

    cpu_seconds: float
    context_switches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PodUsage:
    """One pod of the service, by the control group of the container under test.

    ``cpu_seconds``: from the first request to the last answer, of a container that was replaced meanwhile since it
    started. ``peak_memory_bytes``: since it started, with its page cache. ``throttled_seconds``: how long its CPU limit
    kept it from running. All three are None for a pod that was gone at the end, or would not say. ``restarts``: of its
    containers, during the run.
    """

    pod: str
    node: str
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    throttled_seconds: float | None
    restarts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one run used. ``service``: None for a side whose processes are not on this machine.

    ``pods``, ``events``: of a service in a cluster, and what the cluster told of its objects during the run.
    """

    service: ServiceUsage | None = None
    generator: GeneratorUsage | None = None
    pods: tuple[PodUsage, ...] = ()
    events: tuple[str, ...] = ()
