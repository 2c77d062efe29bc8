"""The project's configuration: ``[tool.inferbench]`` in pyproject.toml, or a file of its own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_inferbench.config.profile import Profile, did_you_mean, resolve_profiles
from pytest_inferbench.config.warmup_plan import WarmUpPlan, read_warm_up
from pytest_inferbench.config.workloads import read_workload
from pytest_inferbench.errors import ConfigurationError

__all__ = ["Project", "read_project"]

_KEYS = ("service", "command", "path", "ready", "profiles", "workloads", "warmup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What is tested and how, validated.

    ``service``: what ``bentoml serve`` takes; ``command``: any other program instead; ``path``: the endpoint;
    ``ready``: the path that answers 200 once the service is ready; ``workloads``: by name, as
    :mod:`workload_table` reads them; ``warmup``: of those that do not say; ``where``: what to call the configuration
    in a message.
    """

    where: str
    service: str | None
    command: tuple[str, ...] | None
    path: str
    ready: str
    profiles: Mapping[str, Profile]
    workloads: Mapping[str, Mapping[str, object]]
    warmup: WarmUpPlan = field(default_factory=WarmUpPlan)

    def warm_up_of(self, workload: str) -> WarmUpPlan:
        """Return how a service is warmed up before a run of ``workload``."""
        plan = self.workloads.get(workload, {}).get("warmup", self.warmup)
        assert isinstance(plan, WarmUpPlan)
        return plan


def read_project(root: Path, given: str | None) -> Project:
    """Read ``given`` (relative to ``root``), or pyproject.toml. Raises ConfigurationError for any mistake."""
    table, where = _configuration(root, given)
    for key in table:
        if key not in _KEYS:
            raise ConfigurationError(f"{where}: unknown key {key!r}{did_you_mean(key, _KEYS)}")
    return Project(
        where=where,
        service=_text(table, "service", where),
        command=_command(table, where),
        path=_path(table, "path", where) or "/",
        ready=_path(table, "ready", where) or "/readyz",
        profiles=resolve_profiles(_table(table, "profiles", where), where=where),
        workloads=_workloads(_table(table, "workloads", where), where),
        warmup=read_warm_up(table["warmup"], what=f"{where}: warmup") if "warmup" in table else WarmUpPlan(),
    )


def _configuration(root: Path, given: str | None) -> tuple[Mapping[str, object], str]:
    """Return the configuration table and how to call its place in messages."""
    path = root / (given or "pyproject.toml")
    try:
        document: Mapping[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if given:
            raise ConfigurationError(f"inferbench_config: there is no file {path}") from None
        return {}, f"{path} [tool.inferbench]"
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error
    if given:
        return document, str(path)
    tool = document.get("tool")
    table = tool.get("inferbench", {}) if isinstance(tool, dict) else {}
    where = f"{path} [tool.inferbench]"
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where}: expected a table, got {table!r}")
    return table, where


def _table(table: Mapping[str, object], key: str, where: str) -> Mapping[str, object]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}: {key} must be a table, got {value!r}")
    return value


def _text(table: Mapping[str, object], key: str, where: str) -> str | None:
    value = table.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigurationError(f"{where}: {key} must be a non-empty string, got {value!r}")
    return value


def _path(table: Mapping[str, object], key: str, where: str) -> str | None:
    value = _text(table, key, where)
    if value is not None and not value.startswith("/"):
        raise ConfigurationError(f"{where}: {key} must start with '/', as in \"/classify\"; got {value!r}")
    return value


def _command(table: Mapping[str, object], where: str) -> tuple[str, ...] | None:
    value = table.get("command")
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
        raise ConfigurationError(
            f'{where}: command must be a list of words such as ["uvicorn", "app:app"], got {value!r}'
        )
    if not any("{port}" in word for word in value):
        raise ConfigurationError(f"{where}: command must contain {{port}}, where the free port is put; got {value!r}")
    if table.get("service") is not None:
        raise ConfigurationError(f"{where}: give either service (for BentoML) or command, not both")
    return tuple(value)


def _workloads(tables: Mapping[str, object], where: str) -> dict[str, dict[str, object]]:
    result: dict[str, dict[str, object]] = {}
    for name, table in tables.items():
        place = f"{where}: workloads.{name}"
        if not isinstance(table, dict):
            raise ConfigurationError(f"{place}: expected a table, got {table!r}")
        result[name] = read_workload(table, place)
    return result
