"""Which run is compared with which."""

from __future__ import annotations

import math

import pytest

from pytest_inferbench.judgement.comparison import compare
from pytest_inferbench.judgement.pairing import pair_up, read_runs
from tests.unit.examples import run, runs


def test_further_runs_of_a_schedule_belong_to_its_pair() -> None:
    """Ten candidate runs of five seeds against five stored ones: five pairs, nothing is left out, and it is said."""
    stored, first, second = runs(5), runs(5, factor=1.1), runs(5, factor=1.2)
    pairing = pair_up(read_runs(stored, "reference"), read_runs((*first, *second), "candidate"))
    assert [extra[0].run for extra in pairing.again] == list(second)
    assert pairing.notes == ("5 further runs of the candidate repeat the schedules of pairs, and count with them",)


def test_the_figure_of_a_pair_is_the_mean_of_its_runs() -> None:
    """A rerun of the same schedules moves the estimate to the geometric mean of both attempts."""
    stored = [run(seed=seed) for seed in range(5)]
    one = [run(seed=seed, factor=1.1) for seed in range(5)]
    other = [run(seed=seed, factor=1.3) for seed in range(5)]
    found = compare(stored, [*one, *other], metric="p50")
    assert found.ratio == pytest.approx(math.sqrt(1.1 * 1.3), rel=1e-3)
    assert (found.pairs, found.runs) == (5, (5, 10))


def test_error_rates_of_a_pair_are_averaged() -> None:
    """One attempt without and one with 4 % of failures is 2 %."""
    stored = [run(seed=seed) for seed in range(5)]
    again = [run(seed=seed, failed=16) for seed in range(5)]
    assert compare(stored, [*stored, *again], metric="error_rate").candidate == pytest.approx(0.02)


def test_a_run_of_another_schedule_is_left_out_and_counted() -> None:
    """A candidate run whose seed the reference lacks has no partner, whatever the others repeat."""
    pairing = pair_up(read_runs(runs(3), "reference"), read_runs((*runs(3), run(seed=0), run(seed=9)), "candidate"))
    assert len(pairing.pairs) == 3
    assert pairing.notes[0] == "1 of 5 runs of the candidate found no partner and was left out"
