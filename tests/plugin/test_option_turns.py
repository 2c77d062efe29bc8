"""Both systems of a comparison are up, and are loaded in turns; or in whole runs, and it is said why."""

from __future__ import annotations

from itertools import groupby

import pytest

from tests.plugin.conftest import ONE_MEASUREMENT, Bench

TWO = {"baseline": {}, "other": {}}
AGAINST = ("--profile=other", "--against=baseline")


def hosts(bench: Bench) -> list[tuple[str, int]]:
    """Which service got so many requests in a row, in order."""
    return [(host, len(list(group))) for host, group in groupby(r["headers"]["host"] for r in bench.requests)]


def test_the_systems_are_loaded_in_turns_with_the_same_requests(bench: Bench) -> None:
    """Five turns a side: each system gets its requests in at least three portions, between those of the other."""
    bench.configure(profiles=TWO)
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run(*AGAINST, "--inferbench-turns=100ms")
    assert len(bench.boots) == 2
    portions = hosts(bench)
    # At a border the same system may end one turn and begin the next.
    assert 6 <= len(portions) <= 10
    (measurement,) = session.measurements
    (run,), (reference,) = measurement["runs"], measurement["reference"]["runs"]
    assert (run["digest"], run["payload_digest"]) == (reference["digest"], reference["payload_digest"])
    assert len(run["turns"]) == len(reference["turns"]) == 5
    assert [turn["first"] for turn in run["turns"]] == [turn["first"] for turn in reference["turns"]]
    for turn in run["turns"]:
        assert turn["seconds"] > 0
        assert turn["others"] >= 0
    for side in (run, reference):
        assert side["resources"]["service"]["idle_cpus"] >= 0
        assert side["resources"]["generator"]["cpu_seconds"] > 0
    assert "both systems were up and loaded in turns" in session.output


def test_two_pairs_boot_in_alternating_order(bench: Bench) -> None:
    """A B, B A: the one that is booted first waits for the other, and that is each one's turn."""
    bench.configure(profiles=TWO)
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    bench.run(*AGAINST, repeats=2)
    assert [boot["profile"]["name"] for boot in bench.boots] == ["baseline", "other", "other", "baseline"]


def test_a_slower_system_is_regressed_in_turns(bench: Bench) -> None:
    """The verdict of runs in turns is that of whole runs: a service that takes a hundred times as long fails."""
    bench.configure(profiles={"baseline": {"answer": 0.002}, "other": {"answer": 0.4}}, rate=60)
    bench.pytester.makepyfile("""
        async def test_gated(inference_service, steady):
            assert (await steady.measure(inference_service)).has_not_regressed(metrics=["p50"])
    """)
    session = bench.run(*AGAINST, "--inferbench-turns=250ms", repeats=3)
    assert session.verdicts == ["REGRESSED"]
    assert any("loaded in turns" in reason for reason in session.measurements[0]["verdicts"][0]["reasons"])


@pytest.mark.parametrize(
    ("tail", "options", "why"),
    [
        ("[tool.inferbench.profiles.other]\nturns = false", (), "profile other says turns = false"),
        ("[tool.inferbench.profiles.other]", ("--inferbench-turns=off",), "turns are switched off"),
        ("[tool.inferbench.profiles.other]", ("--inferbench-generators=2",), "several load generators are in use"),
        ("[tool.inferbench.profiles.other]", ("--update-baselines",), "a baseline is being recorded"),
    ],
)
def test_where_turns_are_not_wanted_whole_runs_alternate(
    bench: Bench, tail: str, options: tuple[str, ...], why: str
) -> None:
    """One system is up at a time, as many portions of requests as runs, and the report says why."""
    bench.configure(tail=tail)
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run(*AGAINST, *options)
    assert len(hosts(bench)) == 2
    (measurement,) = session.measurements
    (note,) = measurement["notes"]
    assert note.startswith(f"whole runs, one system at a time: {why}")
    assert measurement["runs"][0]["turns"] == []


def test_a_second_system_that_does_not_boot_beside_the_first_waits_for_it(bench: Bench) -> None:
    """One licence: the pair is measured in whole runs then, and nothing of the attempt is left."""
    bench.configure(profiles={"baseline": {"exclusive": True}, "other": {"exclusive": True}})
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run(*AGAINST, repeats=2)
    session.result.assert_outcomes(passed=1)
    (measurement,) = session.measurements
    assert len(measurement["runs"]) == len(measurement["reference"]["runs"]) == 2
    (note,) = measurement["notes"]
    assert "other does not boot beside the other" in note or "baseline does not boot beside" in note
    assert len(bench.boots) == 1 + 4  # the one that was up in vain, and two pairs


def test_a_second_system_is_not_booted_where_memory_is_short(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The free memory is held against what the first system took, and the note gives both."""
    monkeypatch.setattr("pytest_inferbench.harness.turns.free_memory", lambda: 2**20)
    bench.configure(profiles=TWO)
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run(*AGAINST)
    (note,) = session.measurements[0]["notes"]
    assert "GiB of memory and 0.0 GiB are free" in note
    assert len(hosts(bench)) == 2


def test_with_a_budget_the_runs_get_as_long_as_is_worth_a_boot(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first look learns of boots and turns decides about the runs after it, and the report says so."""
    asked = []

    def times(pairs: list[object], metrics: tuple[str, ...], **seconds: float) -> int:
        asked.append((len(pairs), metrics, seconds))
        return 3

    monkeypatch.setattr("pytest_inferbench.harness.turns.times_as_long", times)
    bench.configure(profiles=TWO)
    bench.pytester.makepyfile("""
        async def test_it(inference_service, steady):
            await steady.measure(inference_service, metrics=["p50"], margin="0.01%")
    """)
    session = bench.run(*AGAINST, "--inferbench-turns=100ms", "--inferbench-budget=10min", repeats=4)
    (measurement,) = session.measurements
    assert [len(run["turns"]) for run in measurement["runs"]] == [5, 5, 5, 15]
    ((pairs, metrics, seconds),) = asked
    assert (pairs, metrics) == (3, ("p50",))
    assert seconds["boot_seconds"] > 0
    assert seconds["load_seconds"] > 1  # two systems, half a second each
    assert any("3 times as long as the workload says" in note for note in measurement["notes"])


def test_a_system_that_computes_while_it_is_idle_is_named(bench: Bench) -> None:
    """It takes CPU time from the turns of the other system."""
    bench.configure(profiles={"baseline": {}, "other": {"background": True}})
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run(*AGAINST)
    (measurement,) = session.measurements
    (finding,) = [found for found in measurement["findings"] if found["rule"] == "busy-while-idle"]
    assert finding["kind"] == "service"
    assert "(other)" in finding["message"]
    assert measurement["runs"][0]["resources"]["service"]["idle_cpus"] > 0.1


@pytest.mark.parametrize("value", ["soon", "10ms", "-1s"])
def test_an_impossible_length_is_a_usage_error(bench: Bench, value: str) -> None:
    """The message names the option; nothing is booted."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run(f"--inferbench-turns={value}")
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--inferbench-turns" in session.everything
    assert not bench.boots


def test_turns_of_a_profile_are_true_or_false(bench: Bench) -> None:
    """Anything else is named with its place."""
    bench.configure(tail='[tool.inferbench.profiles.other]\nturns = "2s"')
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run("--profile=other")
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    assert "profiles.other.turns: expected true or false, got '2s'" in session.everything
