"""The examples of the docs are projects that work: each is copied and run as a reader would."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import inspect
import os
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.plugin.conftest import Bench, Session

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"


def blocks(page: Path) -> list[str]:
    """The Python blocks of a page, without those that come from the code or from an example."""
    text = re.sub(r"<!-- generated: .*?<!-- end -->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"^```python[^\n]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


PAGES = [path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md")) if blocks(path)]


def run(bench: Bench, example: str, *options: str, edit: tuple[Any, ...] = ()) -> Session:
    """Run the benchmarks of an example, each run shorter than its configuration says.

    ``edit``: a file, and texts in it with what to put in their place.
    """
    for path in (EXAMPLES / example).iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, bench.path / path.name)
    for old, new in edit[1:]:
        text = (bench.path / edit[0]).read_text(encoding="utf-8")
        assert old in text
        (bench.path / edit[0]).write_text(text.replace(old, new), encoding="utf-8")
    return bench.run("benchmarks", "--inferbench-duration=1s", *options, repeats=2)


def test_any_http_service(bench: Bench) -> None:
    """The service without a framework is booted under both profiles, and the part that it reports arrives.

    Its latencies are those it means to have, whatever the machine makes of its sleep.
    """
    measured, meant = "1000 * (time.perf_counter() - started)", "1000 * SECONDS_PER_WORD * len(text.split())"
    session = run(
        bench, "http", "--profile=quantized", "--against=baseline",
        edit=("server.py", (measured, meant), ('f"infer;dur={spent:.3f}"', 'f"infer;dur={spent}, answer;dur={spent}"')),
    )  # fmt: skip
    session.result.assert_outcomes(passed=1)
    assert session.verdicts[0] in ("MET", "UNCERTAIN"), "too few requests in two seconds to claim a p95"
    (measurement,) = session.measurements
    assert "infer" in measurement["runs"][0]["breakdown"]
    assert measurement["figures"]["p50"]["estimate"] < measurement["reference"]["figures"]["p50"]["estimate"]


@pytest.mark.skipif(importlib.util.find_spec("bentoml") is None, reason="BentoML is not installed")
def test_a_bentoml_service_of_ones_own(bench: Bench) -> None:
    """The BentoML service is booted, answers, and its Server-Timing arrives."""
    session = run(bench, "bentoml")
    session.result.assert_outcomes(passed=1)
    (measurement,) = session.measurements
    assert measurement["failed"] == 0
    assert "infer" in measurement["runs"][0]["breakdown"]


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_the_workflows_to_copy_are_yaml_and_use_options_that_exist(name: str) -> None:
    """Each recipe parses, gates against a revision, and passes only options that the plugin has."""
    from pytest_inferbench.plugin.options import OPTIONS

    text = (EXAMPLES / "ci" / name).read_text(encoding="utf-8")
    assert yaml.safe_load(text)
    assert '--against "git:$' in text
    known = {option.flag for option in OPTIONS} | {option.short for option in OPTIONS}
    used = {word for word in text.split() if word.startswith("--") and word not in ("--junit-xml",)}
    assert used <= known


def test_the_shell_gate_runs_what_it_says(tmp_path: Path) -> None:
    """The script hands pytest the revision that it was given, and main by default."""
    fake = tmp_path / "pytest"
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for given, revision in ([], "main"), (["v1.0"], "v1.0"):
        command = [str(EXAMPLES / "ci" / "gate.sh"), *given]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert f"--against git:{revision} --inferbench-budget 10min" in done.stdout


def test_every_configuration_in_the_docs_can_be_read() -> None:
    """Each TOML file of an example is one that the plugin takes."""
    from pytest_inferbench.config.project import read_project

    for path in EXAMPLES.rglob("pyproject.toml"):
        assert "inferbench" in tomllib.loads(path.read_text(encoding="utf-8"))["tool"]
        assert read_project(path.parent, None).workloads


@pytest.mark.parametrize("page", PAGES)
def test_python_in_the_text_is_complete(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block can be copied: it is valid, and imports what it uses."""
    monkeypatch.setenv("TOKEN", "secret")
    for number, block in enumerate(blocks(DOCS / page), start=1):
        names: dict[str, object] = {"__name__": "example"}
        exec(compile(block, f"{page}, block {number}", "exec"), names)
        for found in list(names.values()):
            if inspect.iscoroutinefunction(found):
                assert set(found.__code__.co_names) <= {*names, *dir(builtins), *_attributes(block)}


def _attributes(block: str) -> set[str]:
    return {node.attr for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Attribute)}


def test_the_benchmarks_of_the_reference_run(bench: Bench) -> None:
    """The spike is issued, and the frozen service is measured and survives; capacities have tests of their own."""
    (block,) = blocks(DOCS / "reference" / "fixtures.md")
    bench.pytester.makepyfile(block)
    session = bench.run("-k", "not capacity", "--inferbench-duration=3s", repeats=2)
    session.result.assert_outcomes(passed=2, deselected=1)
    assert [m["workload"]["process"] for m in session.measurements] == ["gamma", "poisson"]
    assert session.measurements[1]["disruptions"][0]["kind"] == "Freeze"


def test_the_python_of_the_reference_compares(bench: Bench) -> None:
    """Two endpoints are loaded in turns without any test's fixtures, and compared."""
    (block,) = blocks(DOCS / "reference" / "python.md")
    check = """
async def test_it(inference_service):
    with inference_service.running() as url:
        comparison = await compared(f"{url}/predict", f"{url}/predict")
    assert comparison.pairs == 3
"""
    bench.pytester.makepyfile(block.replace("duration=5", "duration=1") + check)
    bench.run().result.assert_outcomes(passed=1)
