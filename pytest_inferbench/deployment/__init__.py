"""Where the service under test runs, and how it gets there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from pytest_inferbench.runs.usage import PodUsage

__all__ = ["Deployment", "Watch", "Watched"]


class Deployment(Protocol):
    """One boot of a service: started once, stopped once."""

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash; known once booted."""

    @property
    def alive(self) -> bool:
        """False once the service is known to have died."""

    @property
    def pid(self) -> int | None:
        """The root of the service's processes, 0 before the boot; None where they are not on this machine."""

    @property
    def worker_count(self) -> int:
        """How many processes take requests, as far as that is known; at least 1."""

    boot_seconds: float

    def boot(self, progress: Callable[[float, str], None] | None = None) -> None:
        """Start and wait until ready; DeploymentError if that fails.

        ``progress`` is told the seconds waited and the last line of the service's log, about once a second.
        """

    def stop(self) -> None:
        """End everything that :meth:`boot` started; safe to call at any time, more than once."""

    def log_tail(self) -> str:
        """Return the last lines of the service's log, or why there are none."""


class Watch(Protocol):
    """What was begun by :meth:`Watched.watch`."""

    def end(self) -> tuple[tuple[PodUsage, ...], tuple[str, ...]]:
        """Return what each pod used since it was begun, and what the cluster told meanwhile, one line each."""


@runtime_checkable
class Watched(Protocol):
    """A deployment whose processes are not on this machine, but which can say what they use."""

    def watch(self) -> Watch:
        """Begin to watch; what cannot be read is left out."""
