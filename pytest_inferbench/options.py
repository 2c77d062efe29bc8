"""Options: one table of them, and the one frozen value that the rest of the plugin reads."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from pytest_inferbench.errors import ConfigurationError, InferbenchError
from pytest_inferbench.profile import DEFAULT_PROFILE, REVISION_PREFIX, did_you_mean
from pytest_inferbench.project import Project, read_project
from pytest_inferbench.quantity import parse_fraction, parse_seconds

if TYPE_CHECKING:
    from pytest_inferbench.loadgen import Target

__all__ = [
    "OPTIONS",
    "Option",
    "Settings",
    "add_options",
    "add_short_options",
    "given_on_command_line",
    "load_settings",
]

PREFIX = "inferbench"


@dataclass(frozen=True, slots=True)
class Option:
    """One option: ``--inferbench-NAME`` and the ini key ``inferbench_NAME``.

    ``kind``: ``text``, ``list`` (repeatable), ``flag``. ``short``: a second spelling, left to whoever owns it.
    """

    name: str
    help: str
    kind: str = "text"
    metavar: str | None = None
    short: str | None = None

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


OPTIONS = (
    Option(
        "profile",
        "optimization profile to test; repeatable, each test runs under each (default: baseline)",
        kind="list",
        metavar="NAME",
        short="--profile",
    ),
    Option(
        "against",
        "measure this profile too, or this profile at another git revision, interleaved in the same session, and "
        "compare with it",
        metavar="PROFILE|git:REV",
        short="--against",
    ),
    Option(
        "update-baselines",
        "record what is measured as the stored baseline of this machine",
        kind="flag",
        short="--update-baselines",
    ),
    Option("url", "test this running HTTP endpoint instead of booting a service", metavar="URL"),
    Option("json", "write the result as JSON to this file", metavar="PATH"),
    Option("markdown", "write the result as Markdown, for a pull request, to this file", metavar="PATH"),
    Option("storage", "folder of the stored baselines (default: baselines)", metavar="PATH"),
    Option(
        "repeats",
        "runs per workload and profile, each from its own boot (default: 5; with a budget at most 12)",
        metavar="N",
    ),
    Option("duration", "length of each run, overrides every workload's own, e.g. 30s", metavar="TIME"),
    Option(
        "budget",
        "per test: repeat while undecided, but not once that would end later than this, e.g. 5min",
        metavar="TIME",
    ),
    Option("seed", "seed of arrivals and payloads; repeat k uses seed + k (default: 0)", metavar="N"),
    Option("alpha", "error rate of each check (default: 5%%)", metavar="FRACTION"),
    Option("boot-timeout", "how long a service may take to get ready (default: 180s)", metavar="TIME"),
    Option("drain-timeout", "how long to wait for answers after the last request (default: 15s)", metavar="TIME"),
    Option(
        "selfcheck",
        "measure the service against itself: how noisy this machine is, and what it can detect",
        kind="flag",
    ),
    Option("prune", "remove stored baselines whose test is gone", kind="flag"),
    Option(
        "generators",
        "processes that issue the load, or tcp://HOST:PORT of a Dask scheduler whose workers do (default: 1)",
        metavar="N|URL",
    ),
    Option("strict", "INCONCLUSIVE, UNCERTAIN and NO_BASELINE fail too", kind="flag"),
    Option("allow-missing", "NO_BASELINE does not fail, although CI is set", kind="flag"),
    Option("config", "TOML file to read instead of [tool.inferbench] in pyproject.toml", metavar="PATH"),
)


def add_options(parser: pytest.Parser) -> None:
    """Register every option under its full name, and its ini key."""
    group = parser.getgroup(PREFIX, "inferbench: performance regressions of model services")
    for option in OPTIONS:
        group.addoption(option.flag, **option.attributes)
        kind = {"flag": "bool", "list": "args"}.get(option.kind, "string")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user asked for, from command line, ini file and configuration, validated. Times in seconds.

    ``most_repeats``: the number of repeats where the user said one, which a measurement with a budget respects too.
    ``step_summary``, ``annotate`` and ``workspace`` are GitHub's: the file that a step's page shows, whether to mark
    lines of a pull request, and where the repository lies.
    """

    root: Path
    project: Project
    selected: tuple[str, ...]
    against: str | None
    update_baselines: bool
    url: str | None
    json: Path | None
    markdown: Path | None
    step_summary: Path | None
    annotate: bool
    workspace: Path | None
    storage: Path
    config: str | None
    repeats: int
    most_repeats: int | None
    duration: float | None
    budget: float | None
    seed: int
    alpha: float
    boot_timeout: float
    drain_timeout: float
    generators: int | str
    selfcheck: bool
    prune: bool
    strict: bool
    missing_fails: bool

    def endpoint(self, target: Target) -> Target:
        """Return ``target``, or the endpoint itself where ``--inferbench-url`` names more than a host."""
        if self.url is not None and urlsplit(self.url).path not in ("", "/"):
            return replace(target, url=self.url)
        return target


def load_settings(config: pytest.Config) -> Settings:
    """Read all options and the configuration file. Raises pytest.UsageError with one message for any mistake."""
    try:
        return _load(config)
    except InferbenchError as error:
        raise pytest.UsageError(f"inferbench: {error}") from error


def _load(config: pytest.Config) -> Settings:
    values = {option.name: _value(config, option) for option in OPTIONS}
    project = read_project(config.rootpath, values["config"])
    profiles = project.profiles
    selected = tuple(dict.fromkeys(values["profile"] or (DEFAULT_PROFILE,)))
    against: str | None = values["against"]
    revision = against is not None and against.startswith(REVISION_PREFIX)
    if against is not None and revision:
        from pytest_inferbench.deployment.revision import Revision

        Revision.find(against.removeprefix(REVISION_PREFIX), config.rootpath)
    for flag, names in (("--profile", selected), ("--against", (None if revision else against,))):
        for name in names:
            if name is not None and name not in profiles:
                raise ConfigurationError(
                    f"{flag}: unknown profile {name!r}{did_you_mean(name, profiles)}; see {project.where}"
                )
    if selected == (against,):
        raise ConfigurationError(f"--against {against} is the profile under test itself: choose another reference")
    if values["selfcheck"] and against:
        raise ConfigurationError(
            f"--inferbench-selfcheck measures the service against itself: it does not go with --against {against}"
        )
    if values["url"] and (len(selected) > 1 or against):
        raise ConfigurationError(
            "--inferbench-url tests one running endpoint, which no profile can change: it goes with one --profile "
            "(its name is only a label) and without --against"
        )
    seconds = {
        name: _maybe_seconds(values[name], f"--inferbench-{name}")
        for name in ("duration", "budget", "boot-timeout", "drain-timeout")
    }
    repeats = _whole(values["repeats"], "--inferbench-repeats", default=5, low=1)
    alpha = parse_fraction(values["alpha"] if values["alpha"] is not None else 0.05, what="--inferbench-alpha")
    if not 0 < alpha < 0.5:
        raise ConfigurationError(f"--inferbench-alpha must lie between 0 and 50 %, got {values['alpha']}")
    return Settings(
        root=config.rootpath,
        project=project,
        selected=selected,
        against=against,
        update_baselines=bool(values["update-baselines"]),
        url=_url(values["url"]),
        json=_file(values["json"], config.invocation_params.dir, "--inferbench-json"),
        markdown=_file(values["markdown"], config.invocation_params.dir, "--inferbench-markdown"),
        step_summary=_file(os.environ.get("GITHUB_STEP_SUMMARY") or None, config.rootpath, "GITHUB_STEP_SUMMARY"),
        annotate=os.environ.get("GITHUB_ACTIONS") == "true",
        workspace=Path(workspace) if (workspace := os.environ.get("GITHUB_WORKSPACE")) else None,
        storage=config.rootpath / (values["storage"] or "baselines"),
        config=values["config"],
        repeats=repeats,
        most_repeats=None if values["repeats"] is None else repeats,
        duration=seconds["duration"],
        budget=seconds["budget"],
        seed=_whole(values["seed"], "--inferbench-seed", default=0, low=0),
        alpha=alpha,
        boot_timeout=seconds["boot-timeout"] or 180.0,
        drain_timeout=seconds["drain-timeout"] or 15.0,
        generators=_generators(values["generators"], "--inferbench-generators"),
        selfcheck=bool(values["selfcheck"]),
        prune=bool(values["prune"]),
        strict=bool(values["strict"]),
        missing_fails=bool(os.environ.get("CI")) and not values["allow-missing"],
    )


def _value(config: pytest.Config, option: Option) -> Any:
    value = getattr(config.option, option.key, None)
    if value is None or value == []:
        value = config.getini(option.key)
    return None if value in ("", []) else value


def _maybe_seconds(value: str | None, what: str) -> float | None:
    return None if value is None else parse_seconds(value, what=what)


def _whole(value: str | None, what: str, *, default: int, low: int) -> int:
    if value is None:
        return default
    try:
        number = int(value)
    except ValueError:
        number = low - 1
    if number < low:
        raise ConfigurationError(f"{what} must be a whole number from {low} up, got {value!r}")
    return number


def _generators(value: str | None, what: str) -> int | str:
    if value is None or "://" not in value:
        return _whole(value, what, default=1, low=1)
    address = urlsplit(value)
    if address.scheme != "tcp" or not address.hostname or not address.netloc.rpartition(":")[2].isdigit():
        raise ConfigurationError(f"{what}: a Dask scheduler is written tcp://HOST:PORT, got {value!r}")
    return value


def _file(value: str | None, start: Path, what: str) -> Path | None:
    if value is None:
        return None
    path = Path(start, value)
    if path.is_dir():
        raise ConfigurationError(f"{what}: {path} is a folder; give the path of a file")
    return path


def _url(value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise ConfigurationError(f"--inferbench-url must start with http:// or https://, got {value!r}")
    return value
