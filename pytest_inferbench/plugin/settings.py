"""What the user asked for: the one frozen value that the rest of the plugin reads."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from pytest_inferbench.config.profile import DEFAULT_PROFILE, REVISION_PREFIX, did_you_mean
from pytest_inferbench.config.project import Project, read_project
from pytest_inferbench.errors import ConfigurationError, InferbenchError
from pytest_inferbench.plugin.options import OPTIONS
from pytest_inferbench.units import parse_fraction, parse_seconds

if TYPE_CHECKING:
    from pytest_inferbench.loadgen import Target

__all__ = ["Settings", "in_ci", "load_settings"]


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
    json_latencies: bool
    html: Path | None
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
    turn: float | None
    selfcheck: bool
    control: bool
    prune: bool
    resume: bool
    strict: bool
    missing_fails: bool

    @property
    def raw(self) -> bool:
        """Whether reports need the requests of each run, not only its figures."""
        return self.json_latencies or self.html is not None

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
    values = {option.name: option.value(config) for option in OPTIONS}
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
    for flag in ("against", "update-baselines", "selfcheck"):
        if values["control"] and values[flag]:
            raise ConfigurationError(
                f"--inferbench-control compares with a stored baseline and its revision: it does not go with "
                f"--inferbench-{flag}"
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
        json_latencies=bool(values["json-latencies"]),
        html=_page(values["html"], config.invocation_params.dir, "--inferbench-html"),
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
        turn=_turn(values["turns"], "--inferbench-turns"),
        selfcheck=bool(values["selfcheck"]),
        control=bool(values["control"]),
        prune=bool(values["prune"]),
        resume=bool(values["resume"]),
        strict=bool(values["strict"]),
        missing_fails=in_ci() and not values["allow-missing"],
    )


def in_ci() -> bool:
    """Return whether this is a CI system; some let people set ``CI=false``."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


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


def _turn(value: str | None, what: str) -> float | None:
    if value is not None and value.lower() in ("off", "false", "no"):
        return None
    seconds = 1.5 if value is None else parse_seconds(value, what=what)
    if seconds < 0.1:
        raise ConfigurationError(f"{what}: a turn lasts at least 0.1s, got {value!r}; off measures whole runs")
    return seconds


def _file(value: str | None, start: Path, what: str) -> Path | None:
    if value is None:
        return None
    path = Path(start, value)
    if path.is_dir():
        raise ConfigurationError(f"{what}: {path} is a folder; give the path of a file")
    return path


def _page(value: str | None, start: Path, what: str) -> Path | None:
    """Return the path of an HTML report; what draws it is looked for now, not after an hour of measuring."""
    path = _file(value, start, what)
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None] if path is not None else []
    if missing:
        raise ConfigurationError(f"{what} needs {' and '.join(missing)}: run  pip install 'pytest-inferbench[report]'")
    return path


def _url(value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise ConfigurationError(f"--inferbench-url must start with http:// or https://, got {value!r}")
    return value
