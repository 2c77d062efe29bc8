"""Beside other plugins, and switched off."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import CALM_CONFTEST, ONE_MEASUREMENT, Bench


def test_switched_off_it_is_gone(bench: Bench) -> None:
    """With ``-p no:inferbench`` there are no options, fixtures or sections of ours, and other tests run."""
    bench.pytester.makepyfile("def test_other(): pass\ndef test_ours(inference_service): pass")
    result = bench.pytester.runpytest_inprocess("-p", "no:inferbench")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E*fixture 'inference_service' not found"])
    result.stdout.no_fnmatch_line("*inferbench:*")
    help_text = bench.pytester.runpytest_inprocess("-p", "no:inferbench", "--help").stdout.str()
    assert "--inferbench" not in help_text


def test_pytest_benchmark_in_the_same_session(bench: Bench) -> None:
    """A test of pytest-benchmark and one of ours run side by side, each with its own summary."""
    bench.pytester.makepyfile(ONE_MEASUREMENT + "\ndef test_micro(benchmark):\n    benchmark(sum, [1, 2])\n")
    session = bench.run("--benchmark-max-time=0.01", "--benchmark-min-rounds=1")
    session.result.assert_outcomes(passed=2)
    session.result.stdout.fnmatch_lines(["*benchmark: 1 tests*", "test_micro *"])
    session.result.stdout.fnmatch_lines(["profile baseline*", "steady *"])


def test_pytest_xdist_reports_in_the_controller(bench: Bench) -> None:
    """Two workers measure one after the other; summary and JSON of the controller hold both, and their verdicts."""
    bench.configure(duration="0.3s", profiles={"baseline": {"answer": 0.005}, "other": {"answer": 0.005}})
    bench.pytester.makeconftest(CALM_CONFTEST)
    bench.pytester.makepyfile(
        """
        import pytest
        from pytest_inferbench import SLO

        @pytest.mark.parametrize("number", [1, 2])
        async def test_one(inference_service, steady, number):
            assert not (await steady.measure(inference_service)).meets(SLO(throughput="9000/s"))
        """
    )
    session = bench.run("-n2", "--profile=other", subprocess=True)
    session.result.assert_outcomes(passed=2)
    assert sorted(m["test"] for m in session.measurements) == [
        "test_pytest_xdist_reports_in_the_controller.py::test_one[1]",
        "test_pytest_xdist_reports_in_the_controller.py::test_one[2]",
    ]
    assert {m["profile"] for m in session.measurements} == {"other"}
    assert len(session.verdicts) == 2
    assert len([line for line in session.result.outlines if line.startswith("steady ")]) == 2


def test_pytest_cov_measures_the_tests(bench: Bench) -> None:
    """Coverage of the user's own code is collected while we measure."""
    bench.pytester.makepyfile(mine="def used():\n    return 1\n")
    bench.pytester.makepyfile("import mine\n" + ONE_MEASUREMENT + "    assert mine.used() == 1\n")
    session = bench.run("--cov=mine", "--cov-report=term", subprocess=True)
    session.result.assert_outcomes(passed=1)
    session.result.stdout.fnmatch_lines(["mine.py*100%"])
    assert len(session.measurements) == 1


OWNER = """
def pytest_addoption(parser):
    parser.addoption("--profile", dest="owner", default="nobody")
    parser.addoption("--against", dest="owner_against", default="nobody")

def pytest_report_header(config):
    return f"owner: {config.getoption('owner')} {config.getoption('owner_against')}"
"""


@pytest.mark.parametrize("where", ["conftest", "plugin"])
def test_short_spellings_are_left_to_whoever_owns_them(bench: Bench, where: str) -> None:
    """Where a conftest or a plugin has --profile already it stays theirs, and the long spelling is ours."""
    if where == "conftest":
        bench.pytester.makeconftest(OWNER)
    else:
        bench.pytester.makepyfile(theirs=OWNER)
    bench.configure(profiles={"baseline": {}, "lean": {"delay": 0.001}})
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    load = ("-p", "theirs") if where == "plugin" else ()
    bench.pytester.syspathinsert()
    session = bench.run(*load, "--profile=cProfile", "--against=x", "--inferbench-profile=lean")
    session.result.assert_outcomes(passed=1)
    session.result.stdout.fnmatch_lines(["owner: cProfile x"])
    assert [m["profile"] for m in session.measurements] == ["lean"]


def test_unrelated_tests_see_nothing_of_us(bench: Bench) -> None:
    """A session that measures nothing has no section, no plan and no cache entry of ours."""
    bench.pytester.makepyfile("def test_other(): pass")
    result = bench.pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    lines = [line for line in result.outlines if "inferbench" in line and not line.startswith("plugins:")]
    assert [line for line in lines if "rootdir" not in line and "test_unrelated" not in line] == []
    assert not (bench.path / ".pytest_cache/v/inferbench").exists()


def test_without_the_cache_plugin(bench: Bench) -> None:
    """``-p no:cacheprovider`` costs the memory of how long boots take, and nothing else."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    bench.run("-p", "no:cacheprovider").result.assert_outcomes(passed=1)
