"""The profile's ``runtime`` and ``service`` tables: pydantic models, and one line of error for what they refuse."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import ServiceError

PROFILE_ENV: Final = "INFERBENCH_PROFILE"
PRECISIONS: Final[Mapping[str, tuple[str, ...]]] = {"torch": ("fp32", "bf16"), "onnxruntime": ("fp32", "int8")}

Engine: TypeAlias = Literal["torch", "onnxruntime"]
Batcher: TypeAlias = Literal["immediate", "bentoml"]
Precision: TypeAlias = Literal["fp32", "bf16", "int8"]
Milliseconds: TypeAlias = Annotated[int, Field(ge=0, le=3_600_000)]
Share: TypeAlias = Annotated[float, Field(ge=0.0, le=100.0)]
Threads: TypeAlias = Annotated[int, Field(ge=0, le=1024)]


def available_cpus() -> int:
    """How many CPUs this process may use, where the system tells: `deployment.affinity` may have taken some away."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Table(BaseModel):
    """A table without a key or a type that is not declared: ``true`` is no number, ``1`` is no flag."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RuntimeSettings(_Table):
    """What computes: the engine, its precision, and how.

    ``streams``: how many inferences run at once (batches; with the ``immediate`` batcher only). ``threads``: of each of
    them; 0 shares the CPUs out among the streams of all workers. ``threads_alone``: for a single text while no other
    inference runs, where that is more (engine onnxruntime; at most one per CPU; the weights are in memory once more).
    ``compiled``: by ``torch.compile`` (engine torch; needs a C++ compiler, and a minute at boot until its cache is
    filled).
    """

    engine: Engine = "torch"
    precision: Precision = "fp32"
    threads: Threads = 0
    threads_alone: Threads = 0
    streams: Annotated[int, Field(ge=1, le=64)] = 1
    compiled: bool = False

    @model_validator(mode="after")
    def _fits_the_engine(self) -> Self:
        if self.precision not in (allowed := PRECISIONS[self.engine]):
            raise ValueError(
                f"runtime.precision cannot be {self.precision!r} with engine {self.engine!r}. "
                f"It takes: {', '.join(allowed)}."
            )
        if self.threads_alone and self.engine == "torch":
            raise ValueError("runtime.threads_alone is for engine 'onnxruntime'; PyTorch has one number for all.")
        if self.compiled and self.engine != "torch":
            raise ValueError(f"runtime.compiled is for engine 'torch'; engine {self.engine!r} needs no compiling.")
        return self

    def threads_each(self, workers: int = 1) -> int:
        """Threads of one inference where ``workers`` processes share this machine, at least 1."""
        return self.threads or max(1, available_cpus() // (self.streams * workers))


class Slowdown(_Table):
    """By which share of its time each component is made to take longer (0.1: 10 %)."""

    tokenize: Share = 0.0
    infer: Share = 0.0


class ServiceSettings(_Table):
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
    max_batch_size: Annotated[int, Field(ge=2, le=1024)] = 16
    max_latency_ms: Annotated[Milliseconds, Field(ge=1)] = 60_000
    queue_target_ms: Milliseconds = 0
    timeout_s: Annotated[float, Field(ge=0.001, le=86_400)] = 60.0
    access_log: bool = True
    tracing: bool = True
    metrics: bool = True
    slowdown: Slowdown = Slowdown()


class Deployment(BaseModel):
    """The one setting of this table that concerns the service; every other key is the plugin's to judge."""

    model_config = ConfigDict(frozen=True, strict=True)

    workers: Annotated[int, Field(ge=1, le=1024)] = 1


class Profile(_Table):
    """One resolved profile; without one, the ``baseline``. ``extends`` has been resolved by whoever sent it."""

    name: Annotated[str, Field(min_length=1)] = "baseline"
    extends: Any = None
    runtime: RuntimeSettings = RuntimeSettings()
    service: ServiceSettings = ServiceSettings()
    deployment: Deployment = Deployment()

    @property
    def workers(self) -> int:
        """How many processes serve."""
        return self.deployment.workers

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
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            name = raw.get("name", cls().name) if isinstance(raw, dict) else None
            where = f"profile {name!r}" if name is not None else PROFILE_ENV
            raise ServiceError(f"{where}: {_explain(error, cls.model_json_schema())}") from error


def _explain(error: ValidationError, schema: Mapping[str, Any]) -> str:
    """The first of the errors in one line: which setting, what it takes, and what it was given."""
    first = error.errors(include_url=False)[0]
    if "error" in first.get("ctx", {}):
        return str(first["ctx"]["error"])
    path = [str(part) for part in first["loc"]]
    unknown = path.pop() if first["type"] == "extra_forbidden" else None
    known = _schema_at(path, schema)
    name = ".".join(path) or "the profile"
    if unknown is not None:
        allowed = tuple(known["properties"])
        return f"{name} has no setting {unknown!r}{_near(unknown, allowed)} It takes: {', '.join(allowed)}."
    value = first["input"]
    if allowed := known.get("enum", ()):
        return f"{name} cannot be {value!r}{_near(str(value), allowed)} It takes: {', '.join(allowed)}."
    return f"{name} must be {_what(known)}, got {value!r}."


def _schema_at(path: Iterable[str], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON Schema of the setting at ``path``."""
    found: Mapping[str, Any] = schema
    for key in path:
        found = found["properties"][key]
        found = schema["$defs"][found["$ref"].rpartition("/")[2]] if "$ref" in found else found
    return found


def _what(schema: Mapping[str, Any]) -> str:
    """What a setting takes, in words."""
    limits = f"from {schema.get('minimum')} to {schema.get('maximum')}"
    kinds = {
        "object": "a table",
        "boolean": "true or false",
        "integer": f"a whole number {limits}",
        "number": f"a number {limits}",
        "string": "a non-empty string",
    }
    return kinds[schema["type"]]


def _near(word: str, allowed: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, allowed, n=1)
    return f"; did you mean {close[0]!r}?" if close else "."
