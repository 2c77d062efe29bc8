"""The stand-in for kubectl on the PATH."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stand_in_cluster import OVERLAY, Cluster

STAND_IN = Path(__file__).with_name("kubectl_stand_in.py")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any) -> Iterator[Cluster]:
    """A cluster in which everything works, and whose NodePort leads to the loopback server."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{STAND_IN}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    folder = tmp_path / "cluster"
    (folder / "overlay").mkdir(parents=True)
    monkeypatch.setenv("KUBECTL_STAND_IN", str(folder))
    (folder / "overlay.json").write_text(json.dumps(OVERLAY), encoding="utf-8")
    made = Cluster(folder)
    made.plays(node_port=server.port)
    monkeypatch.setattr("pytest_inferbench.deployment.kubernetes.service._POLL_SECONDS", 0.05)
    yield made
    made.session.close()
