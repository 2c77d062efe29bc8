"""The cost curve: counted by the test, stored in the baseline, reported, and judged in its slope and its steps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.plugin.conftest import Bench, Session

CONFTEST = """
import pytest

@pytest.fixture(scope="session")
def inference_payloads():
    return lambda count, rng: ["x" * int(length) for length in rng.integers(1, 192, count)]
"""
CURVE = """
async def test_curve(inference_service, steady):
    measurement = await steady.measure(inference_service, size=len)
    assert measurement.curve_has_not_regressed(margin="50%", edges=(1, 48, 96, 144, 192))
"""
USUAL = {"answer": 0.01, "per_byte": 0.0001}


@pytest.fixture
def sized(bench: Bench) -> Bench:
    """The project with texts of 1 to 191 bytes, whose cost the service has by the byte."""
    bench.pytester.makeconftest(CONFTEST)
    bench.pytester.makepyfile(CURVE)
    bench.configure(profiles={"baseline": USUAL}, duration="0.8s")
    return bench


def stored(bench: Bench) -> dict[str, Any]:
    """The baseline file of the one test."""
    (path,) = bench.path.glob("baselines/*/*/*.json")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def again(bench: Bench, *options: str, **runtime: float) -> Session:
    bench.configure(profiles={"baseline": {**USUAL, **runtime}}, duration="0.8s")
    return bench.run(*options, repeats=3)


def test_a_steeper_slope_and_a_step_are_told_from_no_change(sized: Bench) -> None:
    """Against a recorded baseline: five times as much per byte is named as the slope, 150 ms more from 96 bytes on as a
    step there, and the unchanged service is no regression. File and result hold sizes and curve."""
    recorded = again(sized, "--update-baselines")
    recorded.result.assert_outcomes(passed=1)
    entry = stored(sized)["workloads"]["steady"]
    assert stored(sized)["version"] == 2
    assert all(1 <= size < 192 for run in entry["runs"] for size in run["size"])
    (measurement,) = recorded.measurements
    assert entry["curve"] == measurement["curve"]
    assert measurement["curve"]["slope"] == pytest.approx(0.0001, rel=0.5)
    assert sum(point["n"] for point in measurement["curve"]["points"]) == measurement["requests"]

    assert again(sized).verdicts in (["PASS"], ["INCONCLUSIVE"])
    for runtime, named in [
        ({"per_byte": 0.0005}, "the slope: "),
        ({"step": 0.15}, "more from 96 tokens on"),
    ]:
        changed = again(sized, **runtime)
        changed.result.assert_outcomes(failed=1)
        (verdict,) = changed.measurements[0]["verdicts"]
        assert verdict["outcome"] == "REGRESSED"
        assert named in verdict["reasons"][0]
        assert verdict["reasons"][0] in " ".join(verdict["explanation"].split())
        assert changed.measurements[0]["reference"]["curve"] is not None


def test_a_baseline_without_sizes_is_no_baseline_of_a_curve(sized: Bench) -> None:
    """What was recorded before the test counted sizes is said to be missing them; other comparisons use it."""
    sized.pytester.makepyfile(CURVE.replace("size=len", "").replace("assert measurement.curve", "measurement.runs or "))
    assert sized.run("--update-baselines").result.ret == 0
    assert "curve" not in stored(sized)["workloads"]["steady"]
    sized.pytester.makepyfile(CURVE + "    assert measurement.has_not_regressed(metrics=['p50'], margin='90%')\n")
    session = sized.run()
    assert session.verdicts[0] == "NO_BASELINE"
    assert session.verdicts[1] != "NO_BASELINE"
    assert "was recorded without sizes" in session.measurements[0]["verdicts"][0]["explanation"]


def test_a_size_that_is_no_number_is_refused_before_a_boot(sized: Bench) -> None:
    """The error says what ``size`` must return, and nothing was started."""
    sized.pytester.makepyfile(CURVE.replace("size=len", "size=str"))
    session = sized.run()
    session.result.assert_outcomes(failed=1)
    assert "measure(size=...) must return a whole number of tokens, got 'x" in session.output
    assert sized.boots == []
