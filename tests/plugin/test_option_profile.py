"""--profile: which profiles the tests run under."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import ONE_MEASUREMENT, Bench

TWO = {"baseline": {"delay": 0.005}, "optimized": {"delay": 0.002}}


def test_several_profiles_parametrize_and_leave_names_of_baselines_alone(bench: Bench) -> None:
    """With several profiles each test runs under each; what it stores is found by a run under one profile."""
    bench.configure(profiles=TWO)
    bench.pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("size", ["small"])
        async def test_one(inference_service, steady, size):
            measurement = await steady.measure(inference_service)
            measurement.has_not_regressed(metrics=["p50"])
        """
    )
    both = bench.run("--profile=baseline", "--profile", "optimized", "--update-baselines", "-v")
    both.result.assert_outcomes(passed=2)
    both.result.stdout.fnmatch_lines(["*::test_one[[]*baseline*] PASSED*", "*::test_one[[]*optimized*] PASSED*"])
    assert [boot["profile"]["name"] for boot in bench.boots] == ["baseline", "optimized"]
    assert {m["test"].partition("::")[2] for m in both.measurements} == {"test_one[small]"}
    folders = {path.partition("/")[0] for path in bench.baselines}
    assert folders == {"baseline", "optimized"}
    one = bench.run("--profile=optimized")
    assert one.measurements[0]["test"] == both.measurements[0]["test"]
    assert one.verdicts == ["INCONCLUSIVE"]  # one pair; NO_BASELINE if the name depended on the number of profiles


def test_an_unknown_profile_is_a_usage_error_with_the_near_match(bench: Bench) -> None:
    """A misspelled profile stops the session before anything is booted, and names what was meant."""
    bench.configure(profiles=TWO)
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run("--profile=optimised")
    assert session.result.ret == pytest.ExitCode.USAGE_ERROR
    session.result.stderr.fnmatch_lines(
        ["ERROR: inferbench: --profile: unknown profile 'optimised'; did you mean 'optimized'? (known: *"]
    )
    assert "Traceback" not in session.everything
    assert bench.boots == []


def test_the_profile_reaches_the_service_resolved(bench: Bench) -> None:
    """The service gets the whole profile as JSON, with what it inherits, and validates its own tables."""
    bench.configure(
        tail="""
        [tool.inferbench.profiles.child]
        extends = "baseline"
        service = { batching = true }
        deployment = { workers = 2, affinity = [0], nice = 3, environment = { MALLOC_ARENA_MAX = "1" } }
        """
    )
    bench.pytester.makepyfile(
        """
        import os, json, pathlib, psutil

        def test_boot(inference_service):
            with inference_service.running():
                boot = json.loads(pathlib.Path("boots.jsonl").read_text())
                assert os.sched_getaffinity(boot["pids"][0]) == {0}
                service = psutil.Process(boot["pids"][0])
                assert service.nice() == min(19, psutil.Process().nice() + 3)
                assert service.environ()["MALLOC_ARENA_MAX"] == "1"
        """
    )
    bench.run("--profile=child").result.assert_outcomes(passed=1)
    assert bench.boots[0]["profile"] == {
        "name": "child",
        "runtime": {"delay": 0.005},
        "service": {"batching": True},
        "deployment": {"affinity": [0], "kind": "local", "port": 0, "workers": 2},
    }
