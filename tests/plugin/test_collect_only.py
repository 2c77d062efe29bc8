"""--collect-only: the plan, and nothing else."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import Bench

TESTS = """
async def test_one(inference_service, steady): ...
async def test_two(inference_service, steady, bursty): ...
async def test_own(inference_service, workload): ...
def test_other(): ...
"""


@pytest.mark.parametrize(
    ("options", "plan"),
    [
        ((), "inferbench: 3 tests under baseline, 5 runs each: 20 boots, about * min"),
        (("--inferbench-repeats=1",), "inferbench: 3 tests under baseline, 1 run each: 4 boots, *"),
        (
            ("--profile=baseline", "--profile=lean", "--inferbench-repeats=2"),
            "inferbench: 6 tests under baseline, lean, 2 runs each: 16 boots, about * min",
        ),
        (
            ("--profile=lean", "--against=baseline", "--inferbench-repeats=2", "--inferbench-duration=1h"),
            "inferbench: 3 tests under lean against baseline, 2 runs each: 16 boots, about 96? min",
        ),
        (
            ("--inferbench-repeats=2", "--inferbench-duration=1h", "--inferbench-budget=1min"),
            "inferbench: 3 tests under baseline, up to 2 runs each: 8 boots, up to 4 min",
        ),
        (
            ("--inferbench-duration=1s", "--inferbench-budget=1h"),
            "inferbench: 3 tests under baseline, up to 12 runs each: 48 boots, up to * min",
        ),
        (
            ("-k", "one", "--inferbench-repeats=1"),
            "inferbench: 1 test under baseline, 1 run each: 1 boot, under a minute",
        ),
    ],
)
def test_the_plan_is_printed_and_nothing_is_booted(bench: Bench, options: tuple[str, ...], plan: str) -> None:
    """Tests, profiles, runs, boots and minutes are told; no process is started."""
    bench.configure(profiles={"baseline": {}, "lean": {}})
    bench.pytester.makepyfile(TESTS)
    session = bench.run("--collect-only", *options, repeats=None)
    session.result.stdout.fnmatch_lines([plan])
    assert bench.boots == []
    assert session.measurements == []


def test_searches_for_a_capacity_are_in_the_plan(bench: Bench) -> None:
    """A search boots as often as it needs to: it is counted, with its minutes, apart from the runs of workloads."""
    bench.configure(warmup='"30s"')
    bench.pytester.makepyfile(TESTS + "async def test_most(inference_service, capacity): ...")
    session = bench.run("--collect-only", "--inferbench-duration=1s", repeats=1)
    session.result.stdout.fnmatch_lines(
        ["inferbench: 4 tests, 1 of them in search of a capacity under baseline, 1 run each: 4 boots, about 3 min"]
    )


def test_tests_that_measure_nothing_have_no_plan(bench: Bench) -> None:
    """Only tests that use a workload are counted."""
    bench.pytester.makepyfile("def test_other(): ...")
    bench.run("--collect-only").result.stdout.no_fnmatch_line("inferbench: *")
