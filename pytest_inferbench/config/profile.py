"""Optimization profiles: named configurations of runtime, service and deployment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from pytest_inferbench.errors import ConfigurationError

__all__ = [
    "DEFAULT_NAMESPACE",
    "DEFAULT_PROFILE",
    "REVISION_PREFIX",
    "DeploymentSpec",
    "Profile",
    "did_you_mean",
    "resolve_profile",
    "resolve_profiles",
]

DEFAULT_PROFILE = "baseline"
#: A reference that starts with it is not a profile but a revision of this project; no profile may be called so.
REVISION_PREFIX = "git:"
#: Where a profile of kind ``kubernetes`` goes that does not say.
DEFAULT_NAMESPACE = "inferbench"
_LAST_CPU = 4095
_TABLES = ("runtime", "service", "deployment")
_KEYS_OF = {
    "local": ("affinity", "port", "nice", "environment"),
    "kubernetes": ("context", "namespace", "overlay", "image", "replicas"),
}
#: What concerns only whoever starts the processes, and is not handed on to them.
_UNTOLD = ("nice", "environment")
_DNS_LABEL = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'? (known: x, y)"`` for an error message about a name that is not known."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    return (f"; did you mean {near[0]!r}?" if near else ";") + f" (known: {', '.join(names) or 'none'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    """How the service is deployed.

    ``kind``: ``local`` (processes on this machine) or ``kubernetes``. ``workers``: processes that serve requests,
    in each pod. Of ``local``: ``affinity``, the CPUs that the whole service may use, None for all; ``port``, 0
    picks a free one; ``nice``, the scheduling priority (-20 first, 19 last); ``environment``, variables added to
    those of pytest (another memory allocator: ``LD_PRELOAD``). Of ``kubernetes``: ``overlay``, the manifests, below
    the project's root; ``context`` of the kubeconfig, None for its current one; ``namespace``; ``image`` and
    ``replicas``, None for what the overlay says.
    """

    kind: str = "local"
    workers: int = 1
    affinity: tuple[int, ...] | None = None
    port: int = 0
    nice: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    context: str | None = None
    namespace: str = DEFAULT_NAMESPACE
    overlay: str | None = None
    image: str | None = None
    replicas: int | None = None

    @classmethod
    def from_table(cls, table: Mapping[str, object], *, where: str) -> DeploymentSpec:
        """Validate a ``deployment`` table; ``where`` names it in errors."""
        for key in table:
            if key not in cls.__dataclass_fields__:
                raise ConfigurationError(f"{where}: unknown key {key!r}{did_you_mean(key, cls.__dataclass_fields__)}")
        kind = table.get("kind", "local")
        if not isinstance(kind, str) or kind not in _KEYS_OF:
            raise ConfigurationError(f"{where}.kind: {kind!r} is not supported; use 'local' or 'kubernetes'")
        for other, keys in _KEYS_OF.items():
            if other != kind and (foreign := [key for key in table if key in keys]):
                raise ConfigurationError(f"{where}.{foreign[0]}: goes with kind {other!r}, and this is {kind!r}")
        if kind == "kubernetes" and "overlay" not in table:
            raise ConfigurationError(
                f"{where}.overlay: kind 'kubernetes' needs the folder of a kustomization, or a file of manifests"
            )
        workers = _integer(table.get("workers", 1), f"{where}.workers", low=1, high=1024)
        port = _integer(table.get("port", 0), f"{where}.port", low=0, high=65535)
        affinity = table.get("affinity")
        nice = _integer(table.get("nice", 0), f"{where}.nice", low=-20, high=19)
        namespace = table.get("namespace", DEFAULT_NAMESPACE)
        if not isinstance(namespace, str) or len(namespace) > 63 or not _DNS_LABEL.fullmatch(namespace):
            raise ConfigurationError(
                f"{where}.namespace: expected a name of small letters, digits and hyphens, got {namespace!r}"
            )
        replicas = table.get("replicas")
        return cls(
            kind=kind,
            workers=workers,
            port=port,
            nice=nice,
            environment=_variables(table.get("environment", {}), f"{where}.environment"),
            affinity=None if affinity is None else _cpus(affinity, f"{where}.affinity"),
            context=_word(table, "context", where),
            namespace=namespace,
            overlay=_word(table, "overlay", where),
            image=_word(table, "image", where),
            replicas=None if replicas is None else _integer(replicas, f"{where}.replicas", low=1, high=1000),
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """A resolved profile. ``runtime`` and ``service`` are the service's own to validate.

    ``turns``: whether it may be up, and be loaded in turns, beside another system that it is compared with.
    """

    name: str
    runtime: Mapping[str, object] = field(default_factory=dict)
    service: Mapping[str, object] = field(default_factory=dict)
    deployment: DeploymentSpec = field(default_factory=DeploymentSpec)
    turns: bool = True

    def to_json(self) -> str:
        """Return what the service is handed in ``INFERBENCH_PROFILE``."""
        kind = self.deployment.kind
        told = (name for name in _KEYS_OF[kind] if name not in _UNTOLD)
        deployment = {name: getattr(self.deployment, name) for name in ("kind", "workers", *told)}
        tables = {"runtime": dict(self.runtime), "service": dict(self.service), "deployment": deployment}
        return json.dumps({"name": self.name, **tables}, sort_keys=True)


def resolve_profiles(tables: Mapping[str, object], *, where: str) -> dict[str, Profile]:
    """Resolve all ``[profiles.NAME]`` tables, ``extends`` included. ``baseline`` always exists.

    Raises ConfigurationError for an unknown key or parent, a cycle, or a table of the wrong shape.
    """
    known = {DEFAULT_PROFILE: {}, **tables}
    return {name: resolve_profile(name, known, where=where) for name in known}


def resolve_profile(name: str, tables: Mapping[str, object], *, where: str) -> Profile:
    """Resolve one profile: its own keys win over those of the profile it extends, table by table."""
    merged: dict[str, dict[str, object]] = {table: {} for table in _TABLES}
    chain: list[str] = []
    turns: bool | None = None
    current: str | None = name
    while current is not None:
        if current not in tables:
            origin = f" (which profile {chain[-1]!r} extends)" if chain else ""
            raise ConfigurationError(f"{where}: unknown profile {current!r}{origin}{did_you_mean(current, tables)}")
        if current in chain:
            raise ConfigurationError(
                f"{where}: profiles extend each other in a circle: {' -> '.join([*chain, current])}"
            )
        chain.append(current)
        place = f"{where}: profiles.{current}"
        table = tables[current]
        if not isinstance(table, Mapping):
            raise ConfigurationError(f"{place}: expected a table, got {table!r}")
        for key, value in table.items():
            if key == "extends":
                continue
            if key == "turns":
                if not isinstance(value, bool):
                    raise ConfigurationError(f"{place}.turns: expected true or false, got {value!r}")
                turns = value if turns is None else turns
                continue
            if key not in merged:
                known = ("extends", "turns", *_TABLES)
                raise ConfigurationError(f"{place}: unknown key {key!r}{did_you_mean(key, known)}")
            if not isinstance(value, Mapping):
                raise ConfigurationError(f"{place}.{key}: expected a table, got {value!r}")
            merged[key] = {**value, **merged[key]}
        parent = table.get("extends")
        if parent is not None and not isinstance(parent, str):
            raise ConfigurationError(f"{place}.extends: expected the name of a profile, got {parent!r}")
        current = parent
    deployment = DeploymentSpec.from_table(merged["deployment"], where=f"{where}: profiles.{name}.deployment")
    return Profile(name, merged["runtime"], merged["service"], deployment, turns is not False)


def _word(table: Mapping[str, object], key: str, where: str) -> str | None:
    value = table.get(key)
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ConfigurationError(f"{where}.{key}: expected a non-empty string, got {value!r}")
    return value


def _integer(value: object, what: str, *, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigurationError(f"{what}: expected a whole number from {low} to {high}, got {value!r}")
    return value


def _variables(value: object, what: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{what}: expected a table of variables, got {value!r}")
    for name, text in value.items():
        if not isinstance(text, str) or not name or "=" in name or "\0" in name + text:
            raise ConfigurationError(f"{what}.{name}: expected the text of an environment variable, got {text!r}")
    return dict(value)


def _cpus(value: object, what: str) -> tuple[int, ...]:
    """Read ``[0, 1]`` or ``"0-1,3"``."""
    cpus: list[int] = []
    try:
        if isinstance(value, str):
            for part in value.split(","):
                first, _, last = part.partition("-")
                ends = [_integer(int(end), what, low=0, high=_LAST_CPU) for end in (first, last or first)]
                cpus.extend(range(ends[0], ends[1] + 1))
        elif isinstance(value, list | tuple):
            cpus.extend(_integer(cpu, what, low=0, high=_LAST_CPU) for cpu in value)
    except ValueError:
        cpus.clear()
    if not cpus:
        raise ConfigurationError(f'{what}: expected CPUs as [0, 1] or "0-1", got {value!r}')
    return tuple(sorted(set(cpus)))
