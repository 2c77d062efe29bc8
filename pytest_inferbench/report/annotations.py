"""Failures as workflow commands, which GitHub shows beside the lines of a pull request."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

__all__ = ["FailedTest", "annotation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTest:
    """A failed test: where its assert stands (``line`` counts from 1), and what it says."""

    test: str
    path: PurePath
    line: int
    message: str


def annotation(failure: FailedTest, *, workspace: PurePath | None) -> str:
    """Return the ``::error`` command, the path relative to ``workspace`` (the repository) where it lies within.

    Escaped as in GitHub's toolkit (packages/core, command.ts).
    """
    path = failure.path
    if workspace is not None and path.is_relative_to(workspace):
        path = path.relative_to(workspace)
    properties = {"file": path.as_posix(), "line": str(failure.line), "title": f"inferbench: {failure.test}"}
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::error {listed}::{_message(failure.message)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
