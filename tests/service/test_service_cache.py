"""The build cache: entries are whole or absent, whatever happens to builders and files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from conftest import ROOT

from service.errors import ServiceError
from service.model import cache


def _builder(counts: list[int], content: str = "weights") -> Callable[[Path], Mapping[str, int]]:
    def build(folder: Path) -> Mapping[str, int]:
        counts.append(1)
        (folder / "a.bin").write_text(content)
        (folder / "b.bin").write_text("more")
        return {"n": len(counts)}

    return build


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    """Proves that a whole entry is reused, with the facts that its builder noted."""
    counts: list[int] = []
    first = cache.obtain(tmp_path, "model", "k", _builder(counts))
    assert cache.obtain(tmp_path, "model", "k", _builder(counts)) == first
    assert len(counts) == 1
    assert first.info == {"n": 1}


@pytest.mark.parametrize("how", ["truncated", "changed", "missing", "no manifest", "torn manifest", "other format"])
def test_a_torn_entry_is_built_again(tmp_path: Path, how: str) -> None:
    """Proves that every way in which an entry can be damaged is noticed and mended."""
    counts: list[int] = []
    entry = cache.obtain(tmp_path, "model", "k", _builder(counts))
    file, manifest = entry.folder / "a.bin", entry.folder / cache.MANIFEST
    if how == "truncated":
        file.write_text("weig")
    elif how == "changed":
        file.write_text("WEIGHTS")
    elif how == "missing":
        file.unlink()
    elif how == "no manifest":
        manifest.unlink()
    elif how == "torn manifest":
        manifest.write_text(manifest.read_text()[:20])
    else:
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    again = cache.obtain(tmp_path, "model", "k", _builder(counts))
    assert len(counts) == 2
    assert (again.folder / "a.bin").read_text() == "weights"
    assert again.digest == entry.digest


def test_a_builder_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """Proves that an interrupted build gives no entry and no scratch folder, and that the next one succeeds."""

    def fails(folder: Path) -> Mapping[str, int]:
        (folder / "a.bin").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.obtain(tmp_path, "model", "k", fails)
    assert cache.find(tmp_path, "model", "k") is None
    assert [path.name for path in tmp_path.iterdir()] == ["model-k.lock"]
    assert cache.obtain(tmp_path, "model", "k", _builder([])).info == {"n": 1}


def test_the_scratch_of_a_dead_builder_is_removed(tmp_path: Path) -> None:
    """Proves that what a killed builder left does not stay on the disk for ever."""
    leftover = tmp_path / ".model-k.12345.tmp"
    leftover.mkdir()
    (leftover / "a.bin").write_text("half")
    cache.obtain(tmp_path, "model", "k", _builder([]))
    assert not leftover.exists()


_SLOW_BUILD = """
import sys, time
from pathlib import Path
from service.model import cache
root = Path(sys.argv[1])
def build(folder):
    with (root / "builds").open("a") as log:
        log.write("x")
    (folder / "a.bin").write_text("a" * 100)
    time.sleep(0.5)
    (folder / "b.bin").write_text("b" * 100)
    return {}
print(cache.obtain(root, "model", "k", build).digest)
"""


def test_two_builders_at_once_build_once(tmp_path: Path) -> None:
    """Proves that of three processes one builds, the others wait for it, and all get the same whole entry."""
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", _SLOW_BUILD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    outputs = [builder.communicate(timeout=300) for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0, 0], outputs
    assert len({out for out, _ in outputs}) == 1
    assert (tmp_path / "builds").read_text() == "x"
    assert cache.find(tmp_path, "model", "k") is not None


def test_the_key_covers_every_part() -> None:
    """Proves that any changed part is another build, and that the order of parts is not a part."""
    key = cache.key_of(version=1, seed=7, size="tiny")
    assert key == cache.key_of(size="tiny", seed=7, version=1)
    assert len({key, cache.key_of(version=2, seed=7, size="tiny"), cache.key_of(version=1, seed=8, size="tiny")}) == 3


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    """Proves that an unusable cache folder is named together with the variable that moves it."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ServiceError, match="INFERBENCH_CACHE"):
        cache.obtain(tmp_path / "file" / "cache", "model", "k", _builder([]))
