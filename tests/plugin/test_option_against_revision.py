"""--against git:REV: this checkout against another revision of itself."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.plugin.conftest import ASYNCIO_ADVICE, ONE_MEASUREMENT, Bench, until

GATED = """
async def test_gated(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.has_not_regressed(metrics=["p50"])
"""


def git(folder: Path, *arguments: str) -> str:
    """Run git with an identity of its own, and return what it printed."""
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def leftovers() -> list[Path]:
    """Return the temporary folders of ours that still exist."""
    return list(Path(tempfile.gettempdir()).glob("inferbench-*"))


@pytest.fixture
def repository(bench: Bench) -> Bench:
    """A repository whose commit has a fast service, and whose checkout has one ten times slower."""
    bench.configure(profiles={"baseline": {"answer": 0.004}})
    bench.pytester.makepyfile(GATED)
    git(bench.path, "init")
    git(bench.path, "add", ".")
    git(bench.path, "commit", "-m", "fast")
    bench.configure(profiles={"baseline": {"answer": 0.04}})
    return bench


def test_the_checkout_is_compared_with_the_revision_and_left_alone(repository: Bench) -> None:
    """The reference is booted from the revision's files with the revision's configuration; nothing is left of it."""
    before = git(repository.path, "status", "--porcelain"), git(repository.path, "worktree", "list")
    index = (repository.path / ".git" / "index").read_bytes()
    session = repository.run("--against=git:HEAD", "--update-baselines", repeats=2)
    session.result.assert_outcomes(failed=1)
    (measurement,) = session.measurements
    commit = git(repository.path, "rev-parse", "HEAD").strip()
    assert measurement["reference"]["label"] == f"git:HEAD ({commit[:10]})"
    assert session.verdicts == ["REGRESSED"]
    assert [boot["profile"]["runtime"]["answer"] for boot in repository.boots] == [0.04, 0.04]
    (p50,) = measurement["verdicts"][0]["checks"]
    assert p50["ratio"] > 4
    # What this session wrote by order of the user is its result, its facts and its baseline; and no revision is one.
    assert repository.baselines == ["baseline/" + repository.baselines[0].partition("/")[2]]
    after = git(repository.path, "status", "--porcelain"), git(repository.path, "worktree", "list")
    new = {"baselines/", "boots.jsonl", "requests.jsonl", "result.json", ".pytest_cache/", "__pycache__/"}
    assert {line[3:] for line in after[0].splitlines()} - {line[3:] for line in before[0].splitlines()} <= new
    assert after[1] == before[1]
    assert (repository.path / ".git" / "index").read_bytes() == index
    assert not leftovers()


def test_a_project_in_a_subfolder_that_imports_an_installed_package(bench: Bench) -> None:
    """The revision's own files come first on the import path, before the checkout that is installed."""
    bench.configure(profiles={"baseline": {"answer": 0.0}})
    project = bench.path / "below"
    project.mkdir()
    for name in ("pyproject.toml", "loopback_service.py"):
        (bench.path / name).rename(project / name)
    (project / "speed.py").write_text("ANSWER = 0.001\n")
    service = (project / "loopback_service.py").read_text().replace('RUNTIME["answer"]', "speed.ANSWER")
    (project / "loopback_service.py").write_text("import speed\n" + service.replace("from __future__", "# "))
    (project / "test_it.py").write_text(GATED)
    git(bench.path, "init")
    git(bench.path, "add", ".")
    git(bench.path, "commit", "-m", "fast")
    (project / "speed.py").write_text("ANSWER = 0.03\n")
    session = bench.run("below", "--rootdir=below", "--against=git:main", repeats=2)
    assert session.verdicts == ["REGRESSED"]


def test_a_profile_that_the_revision_lacks_is_named(repository: Bench) -> None:
    """A new profile has no counterpart at the revision; the error says so before anything is booted."""
    repository.configure(profiles={"new": {"delay": 0.004}})
    session = repository.run("--profile=new", "--against=git:HEAD")
    session.result.assert_outcomes(failed=1)
    assert "has no profile 'new'" in session.output
    assert not repository.boots


@pytest.mark.parametrize("name", ["nowhere", "", "--help"])
def test_an_unknown_revision_is_a_usage_error(repository: Bench, name: str) -> None:
    """What git does not know is told at once, with where to look."""
    session = repository.run(f"--against=git:{name}")
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    session.result.stderr.fnmatch_lines([f"*--against git:{name}: * has no such revision; see `git branch --all`*"])


def test_a_shallow_checkout_says_how_to_fetch(repository: Bench) -> None:
    """CI checks out one commit: the error says how to get the one that is missing."""
    old = git(repository.path, "rev-parse", "HEAD").strip()
    git(repository.path, "commit", "-am", "slow")
    clone = repository.path.parent / "clone"
    git(repository.path, "clone", "--depth=1", f"file://{repository.path}", str(clone))
    session = repository.run(f"--rootdir={clone}", f"--against=git:{old}", str(clone))
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"this checkout is shallow: fetch it with `git fetch --depth=1 origin {old}`" in session.everything


def test_outside_a_repository(bench: Bench) -> None:
    """Where there is no history there is nothing to compare with."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run("--against=git:main")
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    assert "is not in a readable git repository" in session.everything


def test_a_revision_whose_service_does_not_boot_is_named(repository: Bench) -> None:
    """The error of a reference that fails says which revision failed."""
    repository.configure(profiles={"baseline": {"exit": "no model here"}})
    git(repository.path, "commit", "-am", "broken")
    repository.configure(profiles={"baseline": {"delay": 0.004}})
    session = repository.run("--against=git:HEAD")
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(["*the service at revision git:HEAD (*) exited with status 3*"])
    assert "no model here" in session.output
    assert not leftovers()


def test_the_next_session_removes_the_revision_that_a_killed_one_left(repository: Bench) -> None:
    """SIGKILL leaves pytest no time to clean up; the next session removes the exported files along with its own."""
    repository.configure(profiles={"baseline": {"delay": 0.004}}, duration="60s")
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", ASYNCIO_ADVICE, "--against=git:HEAD"],
        cwd=repository.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        until(lambda: any(list(folder.glob("revision-*/boots.jsonl")) for folder in leftovers()))
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert leftovers()
    repository.configure(profiles={"baseline": {"delay": 0.004}}, duration="0.3s")
    repository.run()
    assert not leftovers()
