"""Errors that a user can cause. Each message names what was wrong, where, and what to do next."""

from __future__ import annotations

__all__ = [
    "BaselineError",
    "CapacityError",
    "ConfigurationError",
    "DeploymentError",
    "InferbenchError",
    "LoadError",
    "NewerBaselineError",
    "ValidationError",
]


class InferbenchError(Exception):
    """Base of every error that this package raises on purpose."""


class ValidationError(InferbenchError, ValueError):
    """An invalid value: a rate of zero, a NaN latency, an unknown metric."""


class ConfigurationError(InferbenchError):
    """The configuration file, an option or a fixture override is invalid."""


class DeploymentError(InferbenchError):
    """The service could not be started, did not become ready, or died."""


class CapacityError(InferbenchError):
    """The capacity under an SLO cannot be found: it never holds, or the load generator is the limit."""


class LoadError(InferbenchError):
    """The load generator itself failed; the service was not at fault."""


class BaselineError(InferbenchError):
    """A stored baseline cannot be read or written."""


class NewerBaselineError(BaselineError):
    """A stored baseline was written by a newer version of this package: it is neither read nor replaced."""
