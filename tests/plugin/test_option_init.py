"""--inferbench-init: a configuration and a first benchmark for the service at hand."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from pytest_inferbench.config.project import read_project
from pytest_inferbench.config.scaffold import find_service
from tests.plugin.conftest import Bench

BENTO = """
from typing import Annotated
import bentoml

@bentoml.service(traffic={"timeout": 10})
class Summarizer:
    def helper(self): ...

    @bentoml.api(route="/summarize")
    async def summary(self, text: str, words: int = 20, context: bentoml.Context = None) -> str: ...
"""
FASTAPI = "from fastapi import FastAPI\napp = FastAPI(title='x')\n"


def init(bench: Bench) -> pytest.RunResult:
    return bench.pytester.runpytest_inprocess("--inferbench-init")


@pytest.fixture
def empty(bench: Bench) -> Bench:
    (bench.path / "pyproject.toml").unlink()
    return bench


def test_what_is_written_is_a_configuration_and_benchmarks_that_pytest_collects(empty: Bench) -> None:
    """The BentoML service is found with its endpoint; configuration, payloads and tests fit it, and nothing ran."""
    empty.pytester.makepyfile(service=BENTO)
    result = init(empty)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["inferbench: found the BentoML service service:Summarizer", "*written: *pyproject.toml"]
    )
    project = read_project(empty.path, None)
    assert (project.service, project.command, project.path) == ("service:Summarizer", None, "/summarize")
    assert set(project.workloads) == {"steady", "bursty"}
    conftest = (empty.path / "benchmarks" / "conftest.py").read_text()
    assert "[{'text': 'an example', 'words': 1}]" in conftest
    collected = empty.pytester.runpytest_inprocess("--collect-only", "-q", "benchmarks")
    assert collected.ret == 0
    collected.stdout.fnmatch_lines(["*::test_steady_traffic", "*::test_bursty_traffic"])
    assert empty.boots == []


def test_an_existing_pyproject_is_added_to(empty: Bench) -> None:
    """What stood in the file stays, byte by byte, before the new table."""
    text = '[project]\nname = "mine"  # a comment\n\n[tool.pytest.ini_options]\naddopts = "-ra"'
    (empty.path / "pyproject.toml").write_text(text)
    assert init(empty).ret == 0
    after = (empty.path / "pyproject.toml").read_text()
    assert after.startswith(text + "\n")
    assert tomllib.loads(after)["project"] == {"name": "mine"}


@pytest.mark.parametrize("theirs", [None, "pytest.ini", "tox.ini"])
def test_pytest_is_configured_only_where_it_is_not(empty: Bench, theirs: str | None) -> None:
    """A new project gets what pytest-asyncio asks for; one with pytest's own files keeps them in force."""
    if theirs:
        (empty.path / theirs).write_text("[pytest]\n")
    assert init(empty).ret == 0
    written = tomllib.loads((empty.path / "pyproject.toml").read_text())["tool"]
    assert ("pytest" in written) == (theirs is None)


@pytest.mark.parametrize("taken", ["benchmarks/conftest.py", "benchmarks/test_first_benchmark.py", "table"])
def test_nothing_is_overwritten(empty: Bench, taken: str) -> None:
    """If one of the files or the table is there, nothing at all is written, and the message names which."""
    (empty.path / "benchmarks").mkdir()
    name = "pyproject.toml" if taken == "table" else taken
    (empty.path / name).write_text('[tool.inferbench]\npath = "/x"\n' if taken == "table" else "# mine\n")
    before = {path: path.read_text() for path in empty.path.rglob("*") if path.is_file()}
    result = init(empty)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: inferbench: --inferbench-init: *{name}*nothing was written"])
    assert {path: path.read_text() for path in empty.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("files", "what", "configured"),
    [
        ({"app.py": FASTAPI}, "the FastAPI application app:app", {"path": "/predict", "ready": "/readyz"}),
        ({"pkg/main.py": FASTAPI, "broken.py": "def ("}, "the FastAPI application pkg.main:app", {}),
        ({"tests/service.py": BENTO}, "no service that it knows: fill in `command`", {}),
        ({"app.py": FASTAPI, "service.py": BENTO}, "the BentoML service service:Summarizer", {"path": "/summarize"}),
    ],
)
def test_the_service_at_hand(empty: Bench, files: dict[str, str], what: str, configured: dict[str, Any]) -> None:
    """BentoML first, then an ASGI application; tests and files that are no Python are not looked at."""
    for name, text in files.items():
        path = empty.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert find_service(empty.path).what == what
    assert init(empty).ret == 0
    project = read_project(empty.path, None)
    assert {key: getattr(project, key) for key in configured} == configured


def test_it_has_no_ini_key(bench: Bench) -> None:
    """A project cannot be set up again on every run by a line in its configuration."""
    result = bench.pytester.runpytest_inprocess("-oinferbench_init=true", "--strict-config", "-Werror")
    assert result.ret != 0
    assert not (bench.path / "benchmarks").exists()
