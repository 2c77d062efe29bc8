"""What a rerun adds to: pairs that count, and seeds that are new or have a partner."""

from __future__ import annotations

from pytest_inferbench.harness.history import History, Pair, PairLog
from pytest_inferbench.harness.trial import Trial
from tests.unit.examples import INVALID, run


def pair(seed: int, *, valid: bool = True) -> Pair:
    """A pair without a reference."""
    return Pair(seed=seed, candidate=Trial(run(seed=seed), () if valid else (INVALID,)))


def test_a_dropped_pair_never_gives_its_seed_away_again() -> None:
    """The pair of seed 2 was invalid: the rerun keeps the others and goes on with seed 4, so that none occurs twice."""
    log = PairLog()
    for seed, valid in ((1, True), (2, False), (3, True)):
        log.add(pair(seed, valid=valid))
    assert log.begin_attempt() == 2
    assert [each.seed for each in log.pairs] == [1, 3]
    assert log.next_seed(1) == 4


def test_an_attempt_of_which_every_pair_was_invalid_is_forgotten() -> None:
    """It does not stay in the way of all later attempts: they begin with no pairs, and with new seeds."""
    log = PairLog()
    for seed in (1, 2, 3):
        log.add(pair(seed, valid=False))
    assert log.begin_attempt() == 0
    assert log.pairs == []
    assert log.next_seed(1) == 4


def test_against_a_stored_baseline_a_rerun_takes_the_seeds_it_has() -> None:
    """Seeds beyond those stored have no partner, so five more boots would change nothing: they go round instead."""
    log = PairLog()
    drawn = []
    for _ in range(5):
        drawn.append(log.next_seed(1, stored=(1, 2, 3)))
        log.add(pair(drawn[-1]))
    assert drawn == [1, 2, 3, 1, 2]


def test_each_measurement_of_a_test_has_its_own_log_in_every_attempt() -> None:
    """The second measurement of a rerun adds to the second one of the first attempt."""
    history = History()
    history.begin("t.py::test_x", "t.py::test_x")
    (_, first), (_, second) = history.next(), history.next()
    history.begin("t.py::test_x", "t.py::test_x")
    assert history.next()[1] is first
    assert history.next()[1] is second is not first
