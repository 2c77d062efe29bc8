"""Options: one table of them, and how they are registered. What they come to is in `settings`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

__all__ = ["OPTIONS", "Option", "add_options", "add_short_options", "given_on_command_line"]

PREFIX = "inferbench"


@dataclass(frozen=True, slots=True)
class Option:
    """One option: ``--inferbench-NAME`` and the ini key ``inferbench_NAME``.

    ``kind``: ``text``, ``list`` (repeatable), ``flag``. ``short``: a second spelling, left to whoever owns it.
    ``ini``: whether the key exists.
    """

    name: str
    help: str
    kind: str = "text"
    metavar: str | None = None
    short: str | None = None
    ini: bool = True

    @property
    def flag(self) -> str:
        """The spelling on the command line."""
        return f"--{PREFIX}-{self.name}"

    @property
    def key(self) -> str:
        """The ini key, and where argparse stores the value."""
        return f"{PREFIX}_{self.name.replace('-', '_')}"

    @property
    def attributes(self) -> dict[str, Any]:
        """What ``addoption`` takes besides the spelling. None means: not given here, ask the ini file."""
        match self.kind:
            case "flag":
                return {"action": "store_true", "default": None, "help": self.help, "dest": self.key}
            case "list":
                action = "append"
            case _:
                action = "store"
        return {"action": action, "default": None, "metavar": self.metavar, "help": self.help, "dest": self.key}

    def value(self, config: pytest.Config) -> Any:
        """Return what was given: on the command line, or else in the ini file; None if nowhere."""
        value = getattr(config.option, self.key, None)
        if (value is None or value == []) and self.ini:
            value = config.getini(self.key)
        return None if value in ("", []) else value


OPTIONS = (
    Option(
        "profile",
        "optimization profile to test; repeatable: each test runs under each profile (default: baseline)",
        kind="list",
        metavar="NAME",
        short="--profile",
    ),
    Option(
        "against",
        "reference to compare with: another profile, or another git revision; both are up, and are loaded in turns",
        metavar="PROFILE|git:REV",
        short="--against",
    ),
    Option(
        "update-baselines",
        "record the measurements as the stored baselines of this machine",
        kind="flag",
        short="--update-baselines",
    ),
    Option("url", "test this running HTTP endpoint instead of starting a service", metavar="URL"),
    Option("json", "write the result as JSON to this file", metavar="PATH"),
    Option("json-latencies", "include every request of every run in the JSON result", kind="flag"),
    Option("html", "write the result as one HTML page, with plots, to this file", metavar="PATH"),
    Option("markdown", "write the result as Markdown, for a pull request, to this file", metavar="PATH"),
    Option("storage", "folder of the stored baselines (default: baselines)", metavar="PATH"),
    Option(
        "repeats",
        "runs per workload and profile, each from its own boot (default: 5; with a budget at most 12)",
        metavar="N",
    ),
    Option("duration", "duration of each run, instead of that of each workload, e.g. 30s", metavar="TIME"),
    Option(
        "budget",
        "maximum time per test; runs are added until the verdict is clear, e.g. 5min",
        metavar="TIME",
    ),
    Option("seed", "seed of arrivals and payloads; repeat k uses seed + k (default: 0)", metavar="N"),
    Option(
        "turns",
        "how long each of two compared systems is loaded before the other is, e.g. 2s; off: whole runs (default: 1.5s)",
        metavar="TIME|off",
    ),
    Option("alpha", "error rate of each check (default: 5%%)", metavar="FRACTION"),
    Option("boot-timeout", "maximum time until the service is ready (default: 180s)", metavar="TIME"),
    Option("drain-timeout", "maximum time to wait for answers after the last request (default: 15s)", metavar="TIME"),
    Option(
        "selfcheck",
        "compare the service with itself: shows the noise of this machine and the slowdown that it can detect",
        kind="flag",
    ),
    Option(
        "control",
        "measure the revision that a stored baseline was recorded of beside the checkout, in turns: tells a change of "
        "the code from one of the machine",
        kind="flag",
    ),
    Option("prune", "remove stored baselines whose test no longer exists", kind="flag"),
    Option(
        "generators",
        "number of load generator processes, or tcp://HOST:PORT of a Dask scheduler whose workers send the load "
        "(default: 1)",
        metavar="N|URL",
    ),
    Option("strict", "INCONCLUSIVE, UNCERTAIN and NO_BASELINE fail too", kind="flag"),
    Option("allow-missing", "NO_BASELINE does not fail even if CI is set", kind="flag"),
    Option(
        "resume",
        "continue the interrupted session: reuse its runs where nothing has changed since",
        kind="flag",
        ini=False,
    ),
    Option(
        "init",
        "write a commented configuration and a first benchmark for the service in this project, then exit",
        kind="flag",
        ini=False,
    ),
    Option("config", "TOML file to read instead of [tool.inferbench] in pyproject.toml", metavar="PATH"),
)


def add_options(parser: pytest.Parser) -> None:
    """Register every option under its full name, and its ini key."""
    group = parser.getgroup(PREFIX, "inferbench: performance regressions of model services")
    for option in OPTIONS:
        group.addoption(option.flag, **option.attributes)
        kind = {"flag": "bool", "list": "args"}.get(option.kind, "string")
        if not option.ini:
            continue
        parser.addini(option.key, option.help.replace("%%", "%"), type=kind, default=None)  # type: ignore[arg-type]


def add_short_options(parser: pytest.Parser) -> None:
    """Register the short spellings that nobody else has taken; call it once all initial conftests are loaded."""
    groups = [*parser._groups, parser._anonymous]
    taken = {name for group in groups for option in group.options for name in option.names()}
    for option in OPTIONS:
        if option.short is not None and option.short not in taken:
            help_text = f"same as {option.flag}"
            parser.getgroup(PREFIX).addoption(option.short, **{**option.attributes, "help": help_text})


def given_on_command_line(config: pytest.Config) -> bool:
    """Return True if any option of ours was given: then a mistake in the configuration is told at once."""
    return any(getattr(config.option, option.key, None) not in (None, []) for option in OPTIONS)
