"""The project's configuration: pyproject.toml, or a file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_inferbench.config.project import read_project
from pytest_inferbench.errors import ConfigurationError, ValidationError


def write(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


def test_no_file_and_no_table_are_the_defaults(tmp_path: Path) -> None:
    """Without configuration there is the profile baseline, the root path and nothing to boot."""
    for folder in (tmp_path, write(tmp_path, "[tool.other]\n")):
        project = read_project(folder, None)
        assert (project.service, project.command, project.path, project.ready) == (None, None, "/", "/readyz")
        assert list(project.profiles) == ["baseline"]
        assert project.workloads == {}


def test_a_whole_table(tmp_path: Path) -> None:
    """Every key is read, quantities in their units."""
    project = read_project(
        write(
            tmp_path,
            """
            [tool.inferbench]
            command = ["serve", "--port={port}"]
            path = "/classify"
            ready = "/health"
            profiles.fast = { runtime = { engine = "onnx" } }
            [tool.inferbench.workloads]
            steady = { rate = "5/s", duration = "20s" }
            own = { rate = 2, cv = 3, duration = 1.5 }
            """,
        ),
        None,
    )
    assert project.command == ("serve", "--port={port}")
    assert (project.path, project.ready) == ("/classify", "/health")
    assert project.workloads == {"steady": {"rate": 5, "duration": 20}, "own": {"rate": 2, "cv": 3, "duration": 1.5}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.inferbench", "pyproject.toml is not valid TOML: Expected"),
        ("[tool]\ninferbench = 1", r"\[tool.inferbench\]: expected a table, got 1"),
        ("[tool.inferbench]\nservce = 'x'", "unknown key 'servce'; did you mean 'service'"),
        ("[tool.inferbench]\nservice = ''", "service must be a non-empty string"),
        ("[tool.inferbench]\nservice = 3", "service must be a non-empty string, got 3"),
        ("[tool.inferbench]\ncommand = 'serve'", "command must be a list of words"),
        ("[tool.inferbench]\ncommand = []", "command must be a list of words"),
        ("[tool.inferbench]\ncommand = ['serve']", r"command must contain \{port\}"),
        ("[tool.inferbench]\ncommand = ['{port}']\nservice = 'a:b'", "give either service .* or command, not both"),
        ("[tool.inferbench]\npath = 'classify'", "path must start with '/'"),
        ("[tool.inferbench]\nready = 'http://x/'", "ready must start with '/'"),
        ("[tool.inferbench]\nprofiles = 1", "profiles must be a table"),
        ("[tool.inferbench]\nworkloads.steady = 1", "workloads.steady: expected a table"),
        ("[tool.inferbench.workloads.a]\nrte = 1", "workloads.a: unknown key 'rte'; did you mean 'rate'"),
        ("[tool.inferbench.workloads.a]\nrate = nan", "workloads.a.rate: must be finite, got nan"),
        ("[tool.inferbench.workloads.a]\nrate = 0", "workloads.a.rate: must be greater than zero"),
        ("[tool.inferbench.workloads.a]\nduration = '-1s'", "workloads.a.duration: must be greater than zero"),
        ("[tool.inferbench.workloads.a]\nduration = [1]", r"workloads.a.duration: expected a number, got \[1\]"),
        ("[tool.inferbench.workloads.a]\nduration = true", "workloads.a.duration: expected"),
        ("[tool.inferbench.workloads.a]\ncv = '3'", "workloads.a.cv: expected a number"),
    ],
)
def test_a_mistake_is_one_error_that_names_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    """Whatever is wrong, the message names the file and the place in it."""
    with pytest.raises((ConfigurationError, ValidationError), match=message) as caught:
        read_project(write(tmp_path, text), None)
    assert str(tmp_path / "pyproject.toml") in str(caught.value)


def test_a_file_of_its_own_has_the_same_tables_without_prefix(tmp_path: Path) -> None:
    """The named file is read instead; ``where`` names it."""
    (tmp_path / "bench.toml").write_text('service = "a:b"\n[profiles.x]\n')
    write(tmp_path, "broken")
    project = read_project(tmp_path, "bench.toml")
    assert project.service == "a:b"
    assert list(project.profiles) == ["baseline", "x"]
    assert project.where == str(tmp_path / "bench.toml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing, a binary and a folder instead of a file are told apart."""
    with pytest.raises(ConfigurationError, match="there is no file"):
        read_project(tmp_path, "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_project(tmp_path, "binary.toml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_project(tmp_path, ".")
