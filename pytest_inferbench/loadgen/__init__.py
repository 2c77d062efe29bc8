"""The load generator: sends requests when they are due, from a process of its own, and reports what happened."""

from __future__ import annotations

from pytest_inferbench.loadgen.generator import LoadGenerator
from pytest_inferbench.loadgen.target import ResponseCheck, Target

__all__ = ["LoadGenerator", "ResponseCheck", "Target"]
