"""Reading a trace, and cutting and scaling what was read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_inferbench.errors import ConfigurationError, ValidationError
from pytest_inferbench.workload.arrivals import Replay
from pytest_inferbench.workload.trace import read_trace

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2224670,879,55
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_trace_with_dates_and_sizes(tmp_path: Path) -> None:
    """Offsets count from the first line, to the microsecond; sizes stay with their lines."""
    replay = read_trace(_file(tmp_path, AZURE), timestamp="TIMESTAMP", size="ContextTokens")
    assert replay.offsets == pytest.approx((0, 4.314579, 4.541877), abs=2e-6)
    assert replay.sizes == (374, 396, 879)


def test_a_trace_in_seconds_and_out_of_order(tmp_path: Path) -> None:
    """The first column is the default; lines are put in order with their sizes; a BOM and empty lines do not matter."""
    replay = read_trace(_file(tmp_path, "\ufeffwhen,bytes\n12.5,1\n\n10.0,2\n11.0,3\n"), size="bytes")
    assert replay.offsets == (0, 1, 2.5)
    assert replay.sizes == (2, 3, 1)
    assert read_trace(_file(tmp_path, "when\n3\n5\n")).sizes is None


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("when\n", {}, "no line but that of the column names"),
        ("when,size\n1,2\n", {"size": "tokens"}, "no column 'tokens'; its columns are when, size"),
        ("when\n1\nyesterday\n", {}, "line 3: .*yesterday"),
        ("when,size\n1,2\n2,many\n", {"size": "size"}, "line 3: .*many"),
        ("when,size\n1,2\n2\n", {"size": "size"}, "line 3"),
    ],
)
def test_a_trace_that_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, text: str, options: dict[str, str], message: str
) -> None:
    """The file, the line and what is wrong there."""
    with pytest.raises(ConfigurationError, match=rf"trace\.csv.*{message}"):
        read_trace(_file(tmp_path, text), **options)


def test_a_trace_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A path that leads nowhere is shown."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.csv cannot be read"):
        read_trace(tmp_path / "nowhere.csv")


RECORDED = Replay([0.0, 1.0, 1.0, 4.0, 6.0], [1, 2, 3, 4, 5])


def test_a_window_counts_from_its_start() -> None:
    """Arrivals from 1 s to below 6 s, counted from 1 s, with their sizes; an empty one is refused."""
    window = RECORDED.window(1, 5)
    assert (window.offsets, window.sizes) == ((0.0, 0.0, 3.0), (2, 3, 4))
    assert RECORDED.window(4).offsets == (0.0, 2.0)
    with pytest.raises(ValidationError, match="no arrival in its window"):
        RECORDED.window(7)


def test_stretching_time_keeps_every_arrival() -> None:
    """Half as long: every arrival, twice the rate."""
    half = RECORDED.scaled(time=0.5)
    assert (half.offsets, half.sizes) == ((0.0, 0.5, 0.5, 2.0, 3.0), RECORDED.sizes)
    assert half.mean_rate == 2 * RECORDED.mean_rate


@pytest.mark.parametrize("rate", [0.3, 1.5, 3.0])
def test_scaling_the_rate_keeps_length_pattern_and_sizes(rate: float) -> None:
    """So many times the arrivals, within the same time, where the recording has them, of the sizes it has there."""
    rng = np.random.default_rng(1)
    offsets = np.sort(np.concatenate([rng.uniform(0, 100, 400), rng.uniform(100, 200, 1600)]))
    sizes = np.where(offsets < 100, 7, 9)
    recorded = Replay(offsets, sizes)
    scaled = recorded.scaled(rate=rate, seed=3)
    assert len(scaled.offsets) == pytest.approx(2000 * rate, rel=0.1)
    early = np.asarray(scaled.offsets) < 100
    assert early.mean() == pytest.approx(0.2, abs=0.03)
    assert scaled.sizes is not None
    assert np.mean(np.asarray(scaled.sizes)[early] == 7) > 0.99
    assert scaled == recorded.scaled(rate=rate, seed=3)
    assert scaled != recorded.scaled(rate=rate, seed=4)


@pytest.mark.parametrize("sizes", [[1], [1, -1], [1.5, 2.0], ["a", "b"]])
def test_sizes_that_cannot_be_are_refused(sizes: list[object]) -> None:
    """One whole number from zero up for each arrival."""
    with pytest.raises(ValidationError, match="sizes must be 2 whole numbers"):
        Replay([0.0, 1.0], sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [{"time": 0}, {"rate": -1}, {"time": float("nan")}])
def test_scales_that_cannot_be_are_refused(scale: dict[str, float]) -> None:
    """Zero, negative and not a number."""
    with pytest.raises(ValidationError, match=r"Replay\.scaled"):
        RECORDED.scaled(**scale)  # type: ignore[arg-type]


def test_a_rate_at_which_nothing_is_left_is_refused() -> None:
    """Thinning to nothing is a mistake, not an empty run."""
    with pytest.raises(ValidationError, match="none left"):
        RECORDED.scaled(rate=1e-9)
