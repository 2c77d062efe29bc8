"""What the plugin costs those who have it installed and do not use it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.plugin.conftest import Bench

HEAVY = ("numpy", "scipy", "aiohttp", "httpx", "torch", "bentoml", "psutil", "filelock", "yarl", "matplotlib", "jinja2")
OURS = ("harness", "loadgen", "deployment", "run", "measurement", "verdict", "stats", "report.record", "baselines")
CHECK = f"""
import sys
heavy = [name for name in {HEAVY!r} if name in sys.modules]
heavy += [name for name in {OURS!r} if f"pytest_inferbench.{{name}}" in sys.modules]
"""


def test_importing_the_package_loads_nothing_heavy() -> None:
    """``import pytest_inferbench`` pulls in no dependency at all until a name is used."""
    code = f"import pytest_inferbench{CHECK}\nprint(heavy)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("options", "test"),
    [
        ((), "def test_other():\n    assert heavy == []"),
        (("--profile=baseline", "--inferbench-json=r.json"), "def test_other():\n    assert heavy == []"),
        (("--collect-only",), "async def test_ours(inference_service, steady): ..."),
    ],
)
def test_a_session_that_measures_nothing_loads_nothing_heavy(bench: Bench, options: tuple[str, ...], test: str) -> None:
    """No pytest run pays for numpy and the like through us, not even one that only collects tests of ours."""
    bench.pytester.makeconftest(
        f"def pytest_unconfigure():{CHECK}".replace("\n", "\n    ") + "\n    print(f'heavy: {heavy}')\n"
    )
    bench.pytester.makepyfile(CHECK + "\n" + test)
    plugins = ["-p", "pytest_asyncio.plugin", "-p", "pytest_inferbench.plugin.hooks"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, *options],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=bench.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "heavy: []" in done.stdout
