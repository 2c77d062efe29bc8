"""A stored baseline and a machine that is slower now than when it was recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.plugin.conftest import CALM, Bench, Surroundings

GATE = """
async def test_gate(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.has_not_regressed(metrics=["p50"])
"""


def computing(bench: Bench, **seconds: float) -> None:
    """Let each profile's service state that an answer takes so long, and compute for 2 ms of it: a good part."""
    profiles = {name: {"answer": answer, "busy": 0.002} for name, answer in seconds.items()}
    bench.configure(profiles=profiles, rate=40)


@pytest.fixture
def recorded(bench: Bench, surroundings: Surroundings) -> Callable[[float], None]:
    """A baseline of a service that computes 5 ms, on a machine that takes 1 ms; returns what changes the machine."""

    def machine(milliseconds: float) -> None:
        surroundings.procedure = replace(CALM, measure_speed=lambda: int(1e6 * milliseconds))

    bench.pytester.makepyfile(GATE)
    computing(bench, baseline=0.005)
    machine(1)
    bench.run("--update-baselines", repeats=3).result.assert_outcomes(passed=1)
    return machine


def test_a_slow_hour_is_not_called_a_regression(bench: Bench, recorded: Callable[[float], None]) -> None:
    """The service takes 1.6 times as long; the machine, half as long again: undecided, said, and the test passes."""
    computing(bench, baseline=0.008)
    recorded(1.5)
    session = bench.run(repeats=3)
    session.result.assert_outcomes(passed=1)
    assert session.verdicts == ["INCONCLUSIVE"]
    session.result.stdout.fnmatch_lines(["*the reference computation takes*", "*x1.500 *"])
    (measurement,) = session.measurements
    assert [run["calibration"] for run in measurement["runs"]] == [0.0015] * 3
    assert [run["calibration"] for run in measurement["reference"]["runs"]] == [0.001] * 3


def test_as_fast_a_machine_excuses_nothing(bench: Bench, recorded: Callable[[float], None]) -> None:
    """The same service on the machine as it was is a regression."""
    computing(bench, baseline=0.020)
    recorded(1)
    session = bench.run(repeats=3)
    session.result.assert_outcomes(failed=1)
    assert session.verdicts == ["REGRESSED"]


def test_the_speed_that_another_numpy_measured_is_not_compared(bench: Bench, recorded: Callable[[float], None]) -> None:
    """Another version of numpy may compute faster or slower on the same machine: then nothing is known of it."""
    computing(bench, baseline=0.020)
    (path,) = (bench.path / "baselines").glob("*/*/*.json")
    text = path.read_text(encoding="utf-8")
    version = text.split('"numpy": "')[1].split('"')[0]
    path.write_text(text.replace(f'"numpy": "{version}"', '"numpy": "0.1"'), encoding="utf-8")
    recorded(1.5)
    assert bench.run(repeats=3).verdicts == ["REGRESSED"]


def test_systems_in_turns_share_the_machine(bench: Bench, recorded: Callable[[float], None]) -> None:
    """Under --against nothing is excused."""
    computing(bench, baseline=0.005, slow=0.020)
    recorded(1.5)
    assert bench.run("--profile=slow", "--against=baseline", repeats=3).verdicts == ["REGRESSED"]


def test_a_service_that_only_waits_is_no_slower_on_a_slower_machine(bench: Bench, surroundings: Surroundings) -> None:
    """It takes four times as long and hardly computes: that is the service's doing, whatever the machine's speed."""
    bench.pytester.makepyfile(GATE)
    bench.configure(profiles={"baseline": {"answer": 2}}, rate=40)
    bench.run("--update-baselines", repeats=3)
    bench.configure(profiles={"baseline": {"answer": 8}}, rate=40)
    surroundings.procedure = replace(CALM, measure_speed=lambda: 1_500_000)
    assert bench.run(repeats=3).verdicts == ["REGRESSED"]
