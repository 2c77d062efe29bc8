"""--inferbench-prune: stored baselines whose test is gone are reported, and removed when asked for."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import ONE_MEASUREMENT, Bench


@pytest.fixture
def recorded(bench: Bench) -> Bench:
    """Two recorded tests of one file, of which one is then deleted, and one of a file that is then deleted."""
    bench.configure(duration="0.2s")
    both = ONE_MEASUREMENT + ONE_MEASUREMENT.replace("test_steady", "test_gone")
    bench.pytester.makepyfile(test_kept=both, test_lost=ONE_MEASUREMENT)
    bench.run("--update-baselines").result.assert_outcomes(passed=3)
    bench.pytester.makepyfile(test_kept=ONE_MEASUREMENT)
    (bench.path / "test_lost.py").unlink()
    return bench


ALL = [
    f"baseline/{name}.json"
    for name in ("test_kept.py--test_gone", "test_kept.py--test_steady", "test_lost.py--test_steady")
]


def test_what_is_gone_is_reported_and_kept(recorded: Bench) -> None:
    """Without the option nothing is removed: a branch may only lack the test for now."""
    session = recorded.run()
    lines = ["stored baselines whose test is gone (--inferbench-prune removes them):", "*test_kept.py::test_gone"]
    session.result.stdout.fnmatch_lines([*lines, "*test_lost.py::test_steady"])
    assert recorded.baselines == ALL


def test_what_is_gone_is_removed_on_demand(recorded: Bench) -> None:
    """It takes no measurement: --collect-only is enough; the test that is left keeps its baseline."""
    session = recorded.run("--collect-only", "--inferbench-prune")
    session.result.stdout.fnmatch_lines(["removed stored baselines whose test is gone:", "*test_kept.py::test_gone"])
    assert recorded.baselines == ALL[1:2]
    assert not recorded.boots[3:]


@pytest.mark.parametrize("arguments", [["-k", "nothing"], ["test_kept.py::test_steady"]])
def test_a_test_that_was_only_not_selected_is_not_gone(recorded: Bench, arguments: list[str]) -> None:
    """Deselected by -k, or not named on the command line: its baseline stays."""
    recorded.pytester.makepyfile(test_kept=ONE_MEASUREMENT + ONE_MEASUREMENT.replace("test_steady", "test_gone"))
    recorded.run("--collect-only", "--inferbench-prune", *arguments)
    assert set(recorded.baselines) >= set(ALL[:2])


def test_with_xdist_nothing_is_pruned(recorded: Bench) -> None:
    """The process that reports has collected nothing there: it says so."""
    session = recorded.run("-n1", "--inferbench-prune", subprocess=True)
    session.result.stdout.fnmatch_lines(["--inferbench-prune: nothing pruned*"])
    assert recorded.baselines == ALL
