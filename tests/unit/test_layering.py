"""The layering contract of DESIGN.md, section 4: imports go downward only."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_inferbench"
SERVICE = ROOT / "service"

#: From the top down; a module may import its own layer and those below it.
LAYERS: dict[str, tuple[str, ...]] = {
    "adapter": ("plugin", "fixtures", "options", "settings", "session", "display", "reporting"),
    "reports": ("report",),
    "orchestration": ("capacity", "handles", "harness", "pruning", "sides", "trial", "warmup"),
    "effects": (
        "loadgen",
        "deployment",
        "environment",
        "baselines",
        "baseline_file",
        "kept",
        "project",
        "starter",
        "resources",
        "pace",
        "trace",
        "workload_table",
    ),
    "judgement": (
        "attribution",
        "measurement",
        "drift",
        "plan",
        "selfcheck",
        "slo",
        "validity",
        "verdict",
        "comparison",
        "evidence",
        "sequential",
        "pairing",
        *("costs", "offender", "resilience"),
        "outcome",
    ),
    "statistics": ("stats",),
    "values": (
        *(
            "arrivals",
            "varying",
            "workload",
            "run",
            "profile",
            "errors",
            "seeds",
            "quantity",
            "events",
            "fingerprint",
            "usage",
        ),
        *("disruption", "strategies"),
    ),
}
ORDER = list(LAYERS)
LAYER_OF = {module: layer for layer, modules in LAYERS.items() for module in modules}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every module that a file imports while it runs, at the top or in a function, with the line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute in this project"
            module = node.module or ""
            if module == "pytest_inferbench":
                yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield module, node.lineno


def unit(path: Path) -> str:
    """Return the module, or the package below pytest_inferbench, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_its_own_layer_or_one_below(path: Path) -> None:
    """No import in any module of the package goes upward."""
    assert unit(path) in LAYER_OF, f"{path.name} belongs to no layer: say in this test (and in DESIGN.md) to which"
    own = ORDER.index(LAYER_OF[unit(path)])
    for name, line in imports(path):
        package, _, rest = name.partition(".")
        if package == "pytest_inferbench":
            target = rest.partition(".")[0]
            assert target in LAYER_OF, f"{path}:{line} imports {name}, which belongs to no layer"
            layer = LAYER_OF[target]
            assert ORDER.index(layer) >= own, f"{path}:{line} ({ORDER[own]}) imports {name} ({layer}): upward"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_adapter_imports_pytest(path: Path) -> None:
    """Everything below the adapter works without pytest."""
    found = {name.partition(".")[0] for name, _ in imports(path)} & {"pytest", "_pytest", "pluggy"}
    assert not found or LAYER_OF[unit(path)] == "adapter"


def test_statistics_import_numpy_scipy_and_each_other_only() -> None:
    """stats/ sees arrays: it knows nothing of this package beyond itself."""
    for path in (PACKAGE / "stats").glob("*.py"):
        for name, line in imports(path):
            known = name.partition(".")[0] in {"numpy", "scipy", *sys.stdlib_module_names}
            assert known or name.startswith("pytest_inferbench.stats"), f"{path}:{line} imports {name}"


@pytest.mark.parametrize("layer", ["judgement", "statistics", "values"])
def test_the_pure_layers_touch_no_clock_socket_file_or_process(layer: str) -> None:
    """Judgement, statistics and values import nothing with which they could have an effect."""
    effects = {"time", "socket", "subprocess", "os", "pathlib", "tempfile", "threading", "asyncio", "signal", "shutil"}
    effects |= {"httpx", "aiohttp", "psutil", "filelock", "random", "logging", "urllib", "http", "platform"}
    for path in FILES:
        if LAYER_OF.get(unit(path)) == layer:
            found = {name.partition(".")[0] for name, _ in imports(path)} & effects
            assert not found, f"{path} imports {sorted(found)}"


def test_service_and_plugin_never_import_each_other() -> None:
    """Configuration and HTTP join the two; neither can be imported through the other."""
    for folder, other in ((PACKAGE, "service"), (SERVICE, "pytest_inferbench")):
        for path in folder.rglob("*.py"):
            for name, line in imports(path):
                assert name.partition(".")[0] != other, f"{path}:{line} imports {name}"


def test_every_layer_has_its_modules() -> None:
    """The table above names no module that is gone."""
    present = {unit(path) for path in FILES}
    assert set(LAYER_OF) <= present
