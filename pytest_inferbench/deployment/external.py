"""A service that somebody else runs: measured where it is, never started or stopped."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from pytest_inferbench.errors import DeploymentError

__all__ = ["ExternalService"]


class ExternalService:
    """An endpoint given by URL. ``boot`` only checks that something listens there."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.boot_seconds = 0.0
        self.alive = True
        self.pid: int | None = None
        self.worker_count = 1  # what is behind the URL is not known

    def boot(self, progress: Callable[[float, str], None] | None = None) -> None:
        """Check that the endpoint answers HTTP at all; any status will do."""
        try:
            httpx.get(self.url, timeout=10.0, trust_env=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Without what stands before "@": credentials have no place in a message.
            shown = self.url.rpartition("@")[2]
            raise DeploymentError(
                f"nothing usable answers at {shown} ({type(error).__name__}: {error}); start it, or correct "
                "--inferbench-url"
            ) from error

    def stop(self) -> None:
        """Leave it running: it is not ours."""

    def log_tail(self) -> str:
        """Say why there is no log."""
        return "(the log of a service given by URL is not available)"
