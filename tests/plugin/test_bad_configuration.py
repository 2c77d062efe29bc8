"""Configuration that cannot be meant: one clear error each, before anything is booted."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import ONE_MEASUREMENT, Bench


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ("[tool.inferbench.profiles.x]\nruntme = {}", "*profiles.x: unknown key 'runtme'; did you mean 'runtime'?*"),
        (
            '[tool.inferbench.profiles.a]\nextends = "b"\n[tool.inferbench.profiles.b]\nextends = "a"',
            "*profiles extend each other in a circle: a -> b -> a",
        ),
        ("[tool.inferbench.workloads.own]\nrate = nan", "*workloads.own.rate: must be finite, got nan"),
        ("[tool.inferbench.workloads.own]\nrate = 0", "*workloads.own.rate: must be greater than zero, got 0"),
    ],
)
def test_a_mistake_in_the_table(bench: Bench, tail: str, message: str) -> None:
    """The session ends with a usage error of one line that names file, place and mistake."""
    bench.configure(tail=tail)
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run()
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    session.result.stderr.fnmatch_lines([f"ERROR: inferbench: *pyproject.toml *{message}"])
    assert "Traceback" not in session.everything


def test_toml_that_does_not_parse(bench: Bench) -> None:
    """A file of our own that is no TOML is named with line and column."""
    (bench.path / "broken.toml").write_text("profiles = {\n")
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run("--inferbench-config=broken.toml")
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    session.result.stderr.fnmatch_lines(["ERROR: inferbench: *broken.toml is not valid TOML: *line *column*"])


def test_a_mistake_found_without_any_option_still_is_one_clear_error(bench: Bench) -> None:
    """Where no option of ours was given the mistake is told once a test needs the configuration."""
    bench.configure(tail="[tool.inferbench.profiles.x]\nruntme = {}")
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    result = bench.pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert text.count("unknown key 'runtme'") == 1
    assert "Traceback" not in text


def test_tests_that_do_not_use_us_do_not_suffer_from_our_configuration(bench: Bench) -> None:
    """A broken table of ours fails no session that measures nothing and gives no option of ours."""
    bench.configure(tail="[tool.inferbench.profiles.x]\nruntme = {}")
    bench.pytester.makepyfile("def test_other(): pass")
    bench.pytester.runpytest_inprocess().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('workload("x", rate=0)', "*rate (per second) must be a finite number greater than zero, got 0"),
        ('workload("x", rate=float("nan"))', "*rate (per second) must be a finite number greater than zero, got nan"),
        ('workload("x", rate=5, cv=-1)', "*cv (coefficient of variation) must be a finite number*, got -1"),
        ('workload("x", duration=-1)', "*workload 'x': duration must be greater than zero, got -1"),
        ('workload("x", duration="20s")', "*workload 'x': duration must be a number of seconds, got '20s'"),
        ('workload("x", rate=0.001, duration=0.01).workload.schedule(0)', "*raise its rate or its duration"),
    ],
)
def test_a_workload_that_cannot_be(bench: Bench, call: str, message: str) -> None:
    """A workload made in a test is held to the same rules, and the test fails with the value and the rule."""
    bench.pytester.makepyfile(f"def test_it(workload):\n    {call}\n")
    result = bench.pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E*ValidationError: {message}"])
