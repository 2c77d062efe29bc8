"""The profile's ``runtime`` and ``service`` tables, as the service understands them."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, Self, TypeAlias, cast

from service.errors import ServiceError

PROFILE_ENV: Final = "INFERBENCH_PROFILE"
PRECISIONS: Final[Mapping[str, tuple[str, ...]]] = {"torch": ("fp32", "bf16"), "onnxruntime": ("fp32", "int8")}
BATCHERS: Final = ("bentoml", "immediate")
COMPONENTS: Final = ("tokenize", "infer")

Engine: TypeAlias = Literal["torch", "onnxruntime"]
Batcher: TypeAlias = Literal["bentoml", "immediate"]
Precision: TypeAlias = Literal["fp32", "bf16", "int8"]


def available_cpus() -> int:
    """How many CPUs this process may use, where the system tells: `deployment.affinity` may have taken some away."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """What computes: the engine, its precision, and how.

    ``streams``: how many inferences run at once (batches; with the ``immediate`` batcher only). ``threads``: of each of
    them; 0 shares the CPUs out among the streams of all workers. ``threads_alone``: for a single text while no other
    inference runs, where that is more (engine onnxruntime; at most one per CPU; the weights are in memory once more).
    ``compiled``: by ``torch.compile`` (engine torch; needs a C++ compiler, and a minute at boot until its cache is
    filled).
    """

    engine: Engine = "torch"
    precision: Precision = "fp32"
    threads: int = 0
    threads_alone: int = 0
    streams: int = 1
    compiled: bool = False

    def __post_init__(self) -> None:
        _one_of("runtime.engine", self.engine, tuple(PRECISIONS))
        _one_of(f"runtime.precision (with engine {self.engine!r})", self.precision, PRECISIONS[self.engine])
        _number("runtime.threads", self.threads, int, 0, 1024)
        _number("runtime.threads_alone", self.threads_alone, int, 0, 1024)
        _number("runtime.streams", self.streams, int, 1, 64)
        _flag("runtime.compiled", self.compiled)
        if self.threads_alone and self.engine == "torch":
            raise ServiceError("runtime.threads_alone is for engine 'onnxruntime'; PyTorch has one number for all.")
        if self.compiled and self.engine != "torch":
            raise ServiceError(f"runtime.compiled is for engine 'torch'; engine {self.engine!r} needs no compiling.")

    def threads_each(self, workers: int = 1) -> int:
        """Threads of one inference where ``workers`` processes share this machine, at least 1."""
        return self.threads or max(1, available_cpus() // (self.streams * workers))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How requests are served. The defaults are BentoML's own, and one request at a time.

    With ``batching``, up to ``max_batch_size`` requests are computed together, and those expected to be older than
    ``max_latency_ms`` when they are done get a 503. ``batcher`` chooses who collects them: ``immediate`` is
    :mod:`service.batcher`, which never holds a request back while the engine is idle; ``bentoml`` is BentoML's own
    adaptive batching, which after a burst does, for about as long as the burst had queued.
    ``queue_target_ms``: to how long a wait a lasting queue is held, by a 503 to those who would wait longer (see
    :mod:`service.admission`; ``immediate`` only); 0 lets it grow.
    ``timeout_s``: 504 after so many seconds. ``slowdown`` makes a component take longer by a share of its time
    (``{infer = 0.1}``: 10 %): for trying out whether a benchmark notices.
    """

    batching: bool = False
    batcher: Batcher = "immediate"
    max_batch_size: int = 16
    max_latency_ms: int = 60_000
    queue_target_ms: int = 0
    timeout_s: float = 60.0
    access_log: bool = True
    tracing: bool = True
    metrics: bool = True
    slowdown: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("batching", "access_log", "tracing", "metrics"):
            _flag(f"service.{name}", getattr(self, name))
        _one_of("service.batcher", self.batcher, BATCHERS)
        _number("service.max_batch_size", self.max_batch_size, int, 2, 1024)
        _number("service.max_latency_ms", self.max_latency_ms, int, 1, 3_600_000)
        _number("service.queue_target_ms", self.queue_target_ms, int, 0, 3_600_000)
        _number("service.timeout_s", self.timeout_s, float, 0.001, 86_400)
        for component, share in _table("service.slowdown", self.slowdown, COMPONENTS).items():
            _number(f"service.slowdown.{component}", share, float, 0.0, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One resolved profile; without one, the ``baseline``. Of ``deployment`` only ``workers`` concerns the service."""

    name: str = "baseline"
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    service: ServiceSettings = field(default_factory=ServiceSettings)
    workers: int = 1

    def __post_init__(self) -> None:
        _number("deployment.workers", self.workers, int, 1, 1024)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The profile in ``INFERBENCH_PROFILE``, or the baseline if that is unset or empty."""
        text = environ.get(PROFILE_ENV, "")
        return cls.from_json(text) if text.strip() else cls()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse and validate a profile.

        Raises:
            ServiceError: it is not JSON, or a key, type or value in it is not one that the service knows.
        """
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise ServiceError(f"{PROFILE_ENV} is not JSON ({error}). Give one JSON object, or unset it.") from error
        tables = _table("profile", raw, ("name", "extends", "runtime", "service", "deployment"))
        name = tables.get("name", "baseline")
        if not isinstance(name, str) or not name:
            raise ServiceError(f"{PROFILE_ENV}: name must be a non-empty string, got {name!r}.")
        try:
            return cls(
                name=name,
                runtime=RuntimeSettings(**_settings(RuntimeSettings, "runtime", tables)),
                service=ServiceSettings(**_settings(ServiceSettings, "service", tables)),
                workers=_workers(tables),
            )
        except ServiceError as error:
            raise ServiceError(f"profile {name!r}: {error}") from error


def _settings(cls: type[Any], name: str, tables: Mapping[str, Any]) -> dict[str, Any]:
    return _table(name, tables.get(name, {}), tuple(f.name for f in fields(cls)))


def _workers(tables: Mapping[str, Any]) -> int:
    deployment = tables.get("deployment", {})
    if not isinstance(deployment, dict):
        raise ServiceError(f"deployment must be a table, got {deployment!r}.")
    # Every other key of this table is the plugin's to judge.
    return cast(int, deployment.get("workers", 1))


def _table(name: str, value: Any, allowed: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ServiceError(f"{name} must be a table, got {value!r}.")
    for key in value:
        if key not in allowed:
            raise ServiceError(f"{name} has no setting {key!r}{_near(key, allowed)} It takes: {', '.join(allowed)}.")
    return dict(value)


def _near(word: str, allowed: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, allowed, n=1)
    return f"; did you mean {close[0]!r}?" if close else "."


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed or not isinstance(value, str):
        raise ServiceError(f"{name} cannot be {value!r}{_near(str(value), allowed)} It takes: {', '.join(allowed)}.")


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ServiceError(f"{name} must be true or false, got {value!r}.")


def _number(name: str, value: object, kind: type[int] | type[float], low: float, high: float) -> None:
    accepted = (int,) if kind is int else (int, float)
    what = "a whole number" if kind is int else "a number"
    # NaN fails both comparisons, and so is refused here too.
    if not isinstance(value, accepted) or isinstance(value, bool) or not low <= value <= high:
        raise ServiceError(f"{name} must be {what} from {low} to {high}, got {value!r}.")
