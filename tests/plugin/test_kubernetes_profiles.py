"""Profiles of kind ``kubernetes`` in a session: what they do not go with is refused before any cluster is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.plugin.conftest import ONE_MEASUREMENT, Bench
from tests.plugin.test_option_against_revision import git

CLUSTER_ONLY = """
from pytest_inferbench import DeletePod

async def test_it(inference_service, steady):
    await steady.measure(inference_service, disruptions=[DeletePod(at=0.1)])
"""


@pytest.fixture
def no_kubectl(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that leaves a trace if it is called at all."""
    program, trace = bench.path / "bin" / "kubectl", bench.path / "kubectl-was-called"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {trace}\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return trace


def test_another_revision_does_not_go_with_an_image(bench: Bench, no_kubectl: Path) -> None:
    """--against git:REV is a usage error that says what to do instead: build an image of that revision."""
    deployment = {"kind": "kubernetes", "overlay": "overlay"}
    inline = ", ".join(f"{key} = {json.dumps(value)}" for key, value in deployment.items())
    bench.configure(tail=f"[tool.inferbench.profiles.cluster]\ndeployment = {{ {inline} }}")
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    git(bench.path, "init")
    git(bench.path, "add", ".")
    git(bench.path, "commit", "-m", "all")
    session = bench.run("--profile=cluster", "--against=git:HEAD")
    assert "--against git:HEAD goes with profiles of kind 'local'" in session.everything
    assert "profile 'cluster' runs an image: build one of that revision" in session.everything
    assert "deployment.image" in session.everything
    assert session.result.ret != pytest.ExitCode.OK
    assert not no_kubectl.exists()


def test_pods_of_a_plain_process_cannot_be_deleted(bench: Bench) -> None:
    """A disruption of a cluster's objects is refused for a local service before it is booted."""
    bench.pytester.makepyfile(CLUSTER_ONLY)
    session = bench.run()
    session.result.assert_outcomes(failed=1)
    assert "the service runs as processes on this machine, not in a cluster" in session.output
    assert bench.boots == []
