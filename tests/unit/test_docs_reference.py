"""The docs say what the code knows: generated parts are fresh, tables are complete, examples in the text run."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from pytest_inferbench.config import profile, project, workloads
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.plugin.options import OPTIONS
from pytest_inferbench.report.json_result import SCHEMA_VERSION
from pytest_inferbench.runs.run import Failure
from pytest_inferbench.storage.baseline_format import FORMAT_VERSION

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"


def _load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("inferbench_docs", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _load_generator()
PAGES = [path.relative_to(ROOT).as_posix() for path in generate.pages()]


def section(page: str, heading: str) -> str:
    """The text below a heading, to the next one."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, f"{page} has no heading {heading!r}"
    return found[1]


def first_column(page: str, heading: str) -> set[str]:
    """The names in the first column of the tables below a heading."""
    cells = re.findall(r"^\| ([^|]*) \|", section(page, heading), re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize("page", PAGES)
def test_generated_parts_are_fresh(page: str) -> None:
    """What stands in the page is what the code says now; ``python docs/generate.py`` brings it there."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert generate.rewritten(text) == text, "run: python docs/generate.py"


def test_every_kind_of_generated_part_is_on_some_page() -> None:
    """No generator is left over, and a page that lost its markers is noticed."""
    used = {what for page in PAGES for what in re.findall(r"<!-- generated: (\w+) ", (ROOT / page).read_text())}
    assert used == {*generate.GENERATORS, "file"}


def test_every_configuration_key_is_explained() -> None:
    """Each table of keys holds those that the plugin takes: none is missing, none is made up."""
    assert first_column("configuration.md", "Top level") == set(project._KEYS)
    assert first_column("configuration.md", "Profiles") == {"extends", "turns", *profile._TABLES}
    assert first_column("configuration.md", "deployment") == set(profile.DeploymentSpec.__dataclass_fields__)
    assert first_column("configuration.md", "Workloads") == set(workloads._PARSERS) | {
        *generate.import_module("pytest_inferbench.plugin.fixtures").DEFAULT_WORKLOADS
    }


def test_every_kind_of_process_is_explained_with_its_keys() -> None:
    """The row of each kind names the keys that go with it."""
    rows = re.findall(r"^\| `([^`]+)` \|(.*)\|$", section("configuration.md", "Kinds of process"), re.MULTILINE)
    assert {kind: set(re.findall(r"`([^`]+)`", rest)) for kind, rest in rows} == {
        kind: set(keys) for kind, keys in workloads._KINDS.items()
    }


def test_every_deployment_key_stands_with_its_kind() -> None:
    """A key of one kind is not promised for the other."""
    rows = re.findall(r"^\| `(\w+)` \| (\w*) \|", section("configuration.md", "deployment"), re.MULTILINE)
    said = {kind: {key for key, goes_with in rows if goes_with == kind} for kind in profile._KEYS_OF}
    assert said == {kind: set(keys) for kind, keys in profile._KEYS_OF.items()}


def test_every_outcome_failure_and_finding_is_explained() -> None:
    """Each word that a report may show stands in the reference."""
    assert first_column("results.md", "Outcomes") >= set(Outcome)
    causes = {failure.name.lower() for failure in Failure if failure is not Failure.NONE}
    assert first_column("results.md", "Why a request failed") == causes
    rules: set[str] = set()
    for path in (ROOT / "pytest_inferbench").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        rules |= set(re.findall(r'Finding\(\s*(?:rule=)?"([a-z-]+)"', source))
    assert first_column("results.md", "Findings: why a run is invalid or remarkable") == rules


def test_every_key_of_the_result_has_a_meaning() -> None:
    """The published schema says of each key what it is."""
    empty = re.findall(r"^\| `[^`]+` \| .* \|  \|$", (REFERENCE / "results.md").read_text(), re.MULTILINE)
    assert empty == []


def test_the_page_on_stability_names_the_current_versions() -> None:
    """A format whose version rises is missed on the page that promises what may change."""
    rows = dict(
        re.findall(r"^\| ([a-zA-Z ]+) \(.*\| (\d+) \|.*\|$", (REFERENCE / "stability.md").read_text(), re.MULTILINE)
    )
    assert rows == {"JSON result": str(SCHEMA_VERSION), "stored baseline": str(FORMAT_VERSION)}


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_links_of_the_pages_outside_the_site_lead_somewhere(page: str) -> None:
    """What the strict build of the site does not see: each relative link names a file of this repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)}
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_an_option_that_is_not_there(page: str) -> None:
    """An option that was renamed is renamed in the docs too."""
    named = set(re.findall(r"--inferbench-[a-z]+(?:-[a-z]+)*", (ROOT / page).read_text(encoding="utf-8")))
    assert named <= {option.flag for option in OPTIONS}


@pytest.mark.parametrize("page", PAGES)
def test_configurations_in_the_text_can_be_read(page: str, tmp_path: Path) -> None:
    """Each TOML block is valid; one that begins the plugin's own table is a configuration that it takes."""
    for block in re.findall(r"^```toml[^\n]*\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE):
        tomllib.loads(block)
        if block.startswith("[tool.inferbench]"):
            (tmp_path / "pyproject.toml").write_text(block, encoding="utf-8")
            assert project.read_project(tmp_path, None)


def test_every_setting_of_the_shipped_service_is_documented() -> None:
    """What a profile can set stands in one table: a setting that is added is missed here."""
    page = (DOCS / "explanation" / "shipped-service.md").read_text(encoding="utf-8")
    source = ast.parse((ROOT / "service" / "settings.py").read_text(encoding="utf-8"))
    classes = {node.name: node for node in source.body if isinstance(node, ast.ClassDef)}
    for table, name in (("runtime", "RuntimeSettings"), ("service", "ServiceSettings")):
        keys = [node.target.id for node in classes[name].body if isinstance(node, ast.AnnAssign)]  # type: ignore[union-attr]
        assert len(keys) > 4
        for key in keys:
            assert f"`{table}.{key}`" in page, key
