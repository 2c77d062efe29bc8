"""The layering contract: folders are the layers, and imports go downward only."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_inferbench"
SERVICE = ROOT / "service"

#: From the top down; a folder may import its own layer and those below it. "" are the modules beside the folders.
LAYERS = (
    {"plugin"},
    {"report"},
    {"harness"},
    {"loadgen", "deployment", "machine", "storage"},
    {"judgement"},
    {"stats"},
    {"workload", "config", "runs", "fuzz"},
    {""},
)
#: Names for users that lead into the folders; no module of the package imports them.
FACADES = {PACKAGE / "__init__.py", PACKAGE / "strategies.py"}
PURE = {"judgement", "stats", "workload", "runs", ""}
#: Reads the file that a user names: a value that is made of a file.
READS_FILES = {PACKAGE / "workload" / "trace.py"}
EFFECTS = {
    *("time", "socket", "subprocess", "os", "pathlib", "tempfile", "threading", "asyncio", "signal", "shutil"),
    *("httpx", "aiohttp", "psutil", "filelock", "random", "logging", "urllib", "http", "platform"),
}


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


def folder(path: Path) -> str:
    """Return the folder of the package that a file belongs to, "" for one beside the folders."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def folder_of_module(name: str) -> str:
    """Return the folder of the package that a module, given by its dotted name, belongs to."""
    first = name.split(".")[1]
    return first if (PACKAGE / first).is_dir() else ""


def layer(name: str) -> int:
    """Return the position of a folder's layer, 0 at the top."""
    return next(position for position, folders in enumerate(LAYERS) if name in folders)


FILES = sorted(set(PACKAGE.rglob("*.py")) - FACADES)


def test_every_folder_has_a_layer() -> None:
    """A new folder is in no layer until somebody says here, and in ARCHITECTURE.md, in which."""
    present = {folder(path) for path in FILES}
    assert present == set().union(*LAYERS)


def test_a_module_imports_its_own_layer_or_one_below() -> None:
    """No import in any module of the package goes upward."""
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in FILES
        for name, line in imports(path)
        if name.startswith("pytest_inferbench.") and layer(folder_of_module(name)) < layer(folder(path))
    ]
    assert not upward


def test_only_the_plugin_folder_imports_pytest() -> None:
    """Everything below the plugin works without pytest."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in FILES
        if folder(path) != "plugin"
        for name, line in imports(path)
        if name.partition(".")[0] in {"pytest", "_pytest", "pluggy"}
    ]
    assert not found


def test_statistics_import_numpy_scipy_and_each_other_only() -> None:
    """stats/ sees arrays: it knows nothing of this package beyond itself."""
    for path in (PACKAGE / "stats").glob("*.py"):
        for name, line in imports(path):
            known = name.partition(".")[0] in {"numpy", "scipy", *sys.stdlib_module_names}
            assert known or name.startswith("pytest_inferbench.stats"), f"{path}:{line} imports {name}"


def test_the_pure_layers_touch_no_clock_socket_file_or_process() -> None:
    """Judgement, statistics and values import nothing with which they could have an effect."""
    for path in FILES:
        if folder(path) in PURE and path not in READS_FILES:
            found = {name.partition(".")[0] for name, _ in imports(path)} & EFFECTS
            assert not found, f"{path} imports {sorted(found)}"


def test_service_and_plugin_never_import_each_other() -> None:
    """Configuration and HTTP join the two; neither can be imported through the other."""
    for base, other in ((PACKAGE, "service"), (SERVICE, "pytest_inferbench")):
        for path in base.rglob("*.py"):
            for name, line in imports(path):
                assert name.partition(".")[0] != other, f"{path}:{line} imports {name}"


def test_a_forbidden_import_is_seen(tmp_path: Path) -> None:
    """The reader of imports sees one at the top, one in a function, and none that is for types only."""
    source = tmp_path / "module.py"
    source.write_text(
        "from typing import TYPE_CHECKING\nimport aiohttp\nif TYPE_CHECKING:\n    import socket\n"
        "def late():\n    import subprocess\n"
    )
    assert {name for name, _ in imports(source)} == {"typing", "aiohttp", "subprocess"}


def test_the_architecture_page_is_the_tree() -> None:
    """ARCHITECTURE.md has one line for every folder of the package, none for one that is gone, and stays short."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `(\w+)/(?:kubernetes/)?` \|", text, re.MULTILINE))
    assert described == set().union(*LAYERS) - {""}
    assert len(text.splitlines()) < 60
    named = set(re.findall(r"`((?:pytest_inferbench|tests|service)/[\w/.]+)`", text))
    assert all((ROOT / path).exists() for path in named)
    modules = set(re.findall(r"`(\w+\.py)`", text))
    assert modules <= {path.name for path in PACKAGE.rglob("*.py")}


def test_unit_tests_mirror_the_folders() -> None:
    """Every folder below tests/unit is a folder of the package."""
    present = {path.relative_to(ROOT / "tests" / "unit").as_posix() for path in (ROOT / "tests" / "unit").rglob("*/")}
    mirrored = {name for name in present if "__pycache__" not in name and name != "."}
    assert all((PACKAGE / name).is_dir() for name in mirrored), mirrored
