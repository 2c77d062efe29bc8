"""What ``--inferbench-init`` writes: a commented configuration and a first benchmark for the service that it finds."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_inferbench.errors import ConfigurationError

__all__ = ["Found", "find_service", "write_starter"]

_SKIPPED = frozenset({"tests", "benchmarks", "node_modules", "build", "dist", "site-packages"})
_SAMPLES = {"str": "an example", "int": 1, "float": 1.0, "bool": True, "list": [], "dict": {}}

_CONFIGURATION = """\
# Benchmarks of a model service with pytest-inferbench:  pytest benchmarks/
[tool.inferbench]
{boot}
# The endpoint that receives the requests.
path = "{path}"

# The service without changes. A profile passes the tables `runtime` and `service` to it, as JSON in INFERBENCH_PROFILE.
[tool.inferbench.profiles.baseline]

# Another profile changes only the keys that it sets. Compare:  pytest benchmarks/ --profile faster --against baseline
# [tool.inferbench.profiles.faster]
# extends = "baseline"
# service = {{ batching = true }}
# deployment = {{ workers = 2 }}

# Choose a rate that the service sustains easily: near saturation, queueing multiplies all noise.
[tool.inferbench.workloads]
steady = {{ rate = "10/s", duration = "15s" }}
bursty = {{ rate = "10/s", cv = 3, duration = "15s" }}
"""

#: Where pytest has no configuration yet; one in pyproject.toml would outrank some of these files.
_PYTEST_FILES = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg")
_PYTEST = """
[tool.pytest.ini_options]
# Without this setting, pytest-asyncio, which runs the async tests, prints a warning.
asyncio_default_fixture_loop_scope = "function"
"""

_CONFTEST = '''\
"""The payloads of the benchmarks."""

import pytest


@pytest.fixture(scope="session")
def inference_payloads():
    # Requests draw from this list with a seed. Instead of a list, return a function (count, rng) -> list.
    return [{payload!r}]
'''

_BENCHMARK = '''\
"""The first benchmark. Record a baseline first:  pytest benchmarks/ --update-baselines"""

from pytest_inferbench import SLO

# What the service promises. Start with a limit beyond which users would complain.
PROMISE = SLO(p95="500ms", error_rate="1%")


async def test_steady_traffic(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.meets(PROMISE)
    assert measurement.has_not_regressed(metrics=("p50", "p95"), margin="5%")


async def test_bursty_traffic(inference_service, bursty):
    measurement = await bursty.measure(inference_service)
    assert measurement.meets(PROMISE)
    assert measurement.has_not_regressed(metrics=("p50", "p95"), margin="5%")
'''


@dataclass(frozen=True, slots=True)
class Found:
    """The service at hand: ``boot`` are lines of the configuration, ``what`` says it in words."""

    what: str
    boot: str
    path: str
    payload: dict[str, object]


def write_starter(root: Path) -> tuple[Found, list[Path]]:
    """Write configuration and benchmark below ``root``; return what was found there, and the files.

    Raises ConfigurationError, before anything is written, if one of them would have to be overwritten.
    """
    configuration = root / "pyproject.toml"
    new = {root / "benchmarks" / "conftest.py": "", root / "benchmarks" / "test_first_benchmark.py": _BENCHMARK}
    for path in new:
        if path.exists():
            raise ConfigurationError(f"--inferbench-init: {path} exists; nothing was written")
    before = configuration.read_text(encoding="utf-8") if configuration.exists() else ""
    try:
        tables = tomllib.loads(before).get("tool", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"--inferbench-init: {configuration} is not valid TOML: {error}") from error
    if "inferbench" in tables:
        raise ConfigurationError(
            f"--inferbench-init: {configuration} has a table [tool.inferbench] already; nothing was written"
        )
    found = find_service(root)
    new[root / "benchmarks" / "conftest.py"] = _CONFTEST.format(payload=found.payload)
    (root / "benchmarks").mkdir(exist_ok=True)
    for path, text in new.items():
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    written = ("\n" if before else "") + _CONFIGURATION.format(boot=found.boot, path=found.path)
    if "pytest" not in tables and not any((root / name).exists() for name in _PYTEST_FILES):
        written += _PYTEST
    with configuration.open("a", encoding="utf-8") as stream:
        stream.write(written)
    return found, [configuration, *new]


def find_service(root: Path) -> Found:
    """Return the first BentoML service or ASGI application below ``root``, or else a command to be filled in."""
    trees = list(_sources(root))
    for module, tree in trees:
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and any(_names(one) == "bentoml.service" for one in node.decorator_list):
                boot = f'# The argument of `bentoml serve`.\nservice = "{module}:{node.name}"'
                path, payload = _endpoint(node)
                return Found(f"the BentoML service {module}:{node.name}", boot, path, payload)
    for module, tree in trees:
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                made, target = _names(node.value).rpartition(".")[2], node.targets[0]
                if made in ("FastAPI", "Starlette", "Litestar", "Quart") and isinstance(target, ast.Name):
                    name = f"{module}:{target.id}"
                    words = f'["python", "-m", "uvicorn", "{name}", "--host", "{{host}}", "--port", "{{port}}"]'
                    return Found(f"the {made} application {name}", _command(words), "/predict", {"text": "an example"})
    words = '["python", "your_service.py", "{port}"]'
    return Found("no service that it knows: fill in `command`", _command(words), "/predict", {"text": "an example"})


def _command(words: str) -> str:
    return (
        "# Any program that serves HTTP; {host} and {port} are put in.\n"
        f"command = {words}\n"
        "# Answers 200 once the service can take requests.\n"
        'ready = "/readyz"'
    )


def _sources(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """Yield the name and the syntax of each module in ``root`` and in the folders directly below it."""
    for path in sorted([*root.glob("*.py"), *root.glob("*/*.py")], key=lambda path: (len(path.parts), path)):
        folder = path.relative_to(root).parts[0]
        if folder in _SKIPPED or folder.startswith("."):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, UnicodeDecodeError):
            continue
        yield ".".join(path.relative_to(root).with_suffix("").parts), tree


def _names(node: ast.expr) -> str:
    """Return ``"bentoml.service"`` for ``bentoml.service`` and for ``bentoml.service(...)``."""
    return ast.unparse(node.func if isinstance(node, ast.Call) else node)


def _endpoint(service: ast.ClassDef) -> tuple[str, dict[str, object]]:
    """Return path and example payload of a service's first endpoint."""
    for node in service.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                if _names(decorator) == "bentoml.api":
                    return _route(decorator) or f"/{node.name}", _payload(node.args)
    return "/predict", {"text": "an example"}


def _route(decorator: ast.expr) -> str:
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    given = [keyword.value for keyword in keywords if keyword.arg == "route"]
    return str(given[0].value) if given and isinstance(given[0], ast.Constant) else ""


def _payload(arguments: ast.arguments) -> dict[str, object]:
    found: dict[str, object] = {}
    for argument in arguments.args[1:]:  # without self
        kind = ast.unparse(argument.annotation).partition("[")[0] if argument.annotation is not None else "str"
        if kind not in ("bentoml.Context", "Context"):
            found[argument.arg] = _SAMPLES.get(kind, "an example")
    return found
