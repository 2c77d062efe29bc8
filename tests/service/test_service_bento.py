"""``bentoml build`` on the shipped service, and the bento that it makes."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from conftest import OPTIMIZED, ROOT, boot_service, end, service_environment


def test_a_built_bento_serves_from_anywhere(tiny_cache: Path, tmp_path: Path) -> None:
    """Proves that the bento has all of the service's code in it, and serves another profile than it was built under."""
    store = {"BENTOML_HOME": str(tmp_path / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    built = subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--output", "tag"],
        cwd=ROOT,
        env=service_environment(tiny_cache, None, **store),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    tag = built.stdout.strip().removeprefix("__tag__:")
    (inside,) = (tmp_path / "bentoml" / "bentos").glob("*/*/src")
    for module in (ROOT / "service").rglob("*.py"):
        assert (inside / module.relative_to(ROOT)).is_file(), module
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    served = boot_service(tiny_cache, OPTIMIZED, tmp_path / "log", what=tag, cwd=elsewhere, **store)
    try:
        response = served.client.post("/classify", json={"text": "A wonderful lovely phone! I love it."})
        assert (response.status_code, response.json()["label"]) == (200, "positive")
        assert "Server-Timing" in response.headers
    finally:
        served.client.close()
        end(served.process)


def test_a_bento_installs_what_the_extra_does() -> None:
    """Proves that the packages of a bento and those of the extra are the same, in the same versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bento = yaml.safe_load((ROOT / "bentofile.yaml").read_text(encoding="utf-8"))
    assert bento["python"]["packages"] == project["optional-dependencies"]["service"]
