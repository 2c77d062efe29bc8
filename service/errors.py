"""The one error that a user of the service can cause before it answers requests."""

from __future__ import annotations


class ServiceError(Exception):
    """A setting, model or cache that cannot work. The message names what was wrong, where, and what to do next."""
