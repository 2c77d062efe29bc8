"""--update-baselines: what is recorded, and what later runs make of it."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.plugin.conftest import CALM, Bench, Surroundings
from tests.unit.examples import INVALID

GATED = """
async def test_gated(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.has_not_regressed(metrics=["p50"], margin="100%")
"""


def test_the_life_of_a_baseline(bench: Bench) -> None:
    """Recorded; the same service passes; a slower one fails; recording the slower one is accepted and passes then."""
    bench.configure(profiles={"baseline": {"answer": 0.1}})
    bench.pytester.makepyfile(GATED)
    first = bench.run("--update-baselines", repeats=2)
    first.result.assert_outcomes(passed=1)
    first.result.stdout.fnmatch_lines(["*NO_BASELINE *there was no baseline of*", "1 baseline recorded in *baselines"])
    assert first.verdicts == ["NO_BASELINE"]
    assert bench.baselines == ["baseline/test_the_life_of_a_baseline.py--test_gated.json"]

    same = bench.run(repeats=2)
    same.result.assert_outcomes(passed=1)
    assert same.verdicts == ["PASS"]
    assert same.measurements[0]["reference"]["label"].startswith("baseline 20")

    before = _stored(bench)
    bench.configure(profiles={"baseline": {"answer": 0.1}}, rate=100)
    other = bench.run()
    assert other.verdicts == ["NO_BASELINE"]  # another rate is another workload
    other.result.stdout.fnmatch_lines(["*of another workload*"])

    bench.configure(profiles={"baseline": {"answer": 0.5}})
    slower = bench.run(repeats=2)
    slower.result.assert_outcomes(failed=1)
    assert slower.verdicts == ["REGRESSED"]
    assert _stored(bench) == before, "only --update-baselines writes"

    meant = bench.run("--update-baselines", repeats=2)
    assert _stored(bench) != before
    assert meant.measurements[0]["reference"] is not None


def test_what_was_not_recorded_is_not_said_to_be(bench: Bench, surroundings: Surroundings) -> None:
    """An invalid measurement writes nothing, and the last lines say so."""
    surroundings.procedure = replace(CALM, examine=lambda run: (INVALID,))
    bench.pytester.makepyfile(GATED)
    session = bench.run("--update-baselines")
    assert bench.baselines == []
    assert " recorded in " not in session.output
    session.result.stdout.fnmatch_lines(["no baseline was recorded: no measurement was valid"])


def _stored(bench: Bench) -> str:
    (path,) = (bench.path / "baselines").glob("*/*/*.json")
    return path.read_text(encoding="utf-8")


def test_one_file_holds_all_workloads_of_a_test(bench: Bench) -> None:
    """A test that measures two workloads keeps both in its file, whose figures are whole microseconds."""
    bench.pytester.makepyfile(
        """
        async def test_two(inference_service, steady, bursty):
            await steady.measure(inference_service)
            await bursty.measure(inference_service)
        """
    )
    bench.run("--update-baselines")
    document = json.loads(_stored(bench))
    assert set(document["workloads"]) == {"steady", "bursty"}
    run = document["workloads"]["steady"]["runs"][0]
    assert all(isinstance(value, int) and value > 5000 for value in run["latency_us"])


def test_storage_that_cannot_be_written_costs_no_figures(bench: Bench) -> None:
    """Where the folder cannot be made the test fails with the way out, and the figures are still reported."""
    (bench.path / "occupied").write_text("")
    bench.pytester.makepyfile(GATED)
    session = bench.run("--update-baselines", "--inferbench-storage=occupied/here")
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(["E*BaselineError: cannot write the baseline *--inferbench-storage*"])
    assert session.measurements[0]["requests"] > 0
