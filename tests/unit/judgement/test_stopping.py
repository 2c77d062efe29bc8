"""When a measurement ends: after a fixed number of runs, or once it is decided, or when the budget has ended."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_inferbench.errors import ConfigurationError, ValidationError
from pytest_inferbench.judgement.stopping import Plan
from pytest_inferbench.runs.run import Run


def runs(count: int, seconds: float, *, spread: float = 0.001, payloads: str = "p") -> list[Run]:
    """Return runs of 200 requests of about ``seconds``, each with its seed and digest."""
    due = np.arange(200) * 10_000_000
    return [
        Run(
            scheduled_ns=due,
            issued_ns=due,
            completed_ns=due
            + (seconds * 1e9 * np.random.default_rng(k).uniform(1 - spread, 1 + spread, 200)).astype(int),
            status=np.full(200, 200),
            seed=k,
            digest=f"d{k}",
            payload_digest=payloads,
        )
        for k in range(count)
    ]


def sequential(**changes: object) -> Plan:
    options = {"repeats": 5, "sequential": True, "metrics": ("p50",), "margin": 0.05, "alpha": 0.05, **changes}
    return Plan.of(**options)  # type: ignore[arg-type]


def test_a_fixed_number_of_runs_is_judged_at_alpha() -> None:
    """Without looks in between nothing is spent: the last run ends it, at the full alpha and without a reason."""
    plan = sequential(sequential=False)
    assert plan.looks == (5,)
    assert plan.stop(runs(4, 0.1), runs(4, 0.1), spent=False) is None
    stop = plan.stop(runs(5, 0.1), runs(5, 0.1), spent=False)
    assert stop is not None
    assert (stop.level, stop.reason) == (0.05, "")


def test_a_budget_without_a_reference_only_cuts_short() -> None:
    """Where there is nothing to compare with, there is nothing to decide early, but the time still ends."""
    plan = sequential(sequential=False)
    stop = plan.stop((), runs(2, 0.1), spent=True)
    assert stop is not None
    assert stop.reason == "the budget ended after 2 of 5 runs"


def test_looks_end_a_clear_case_early_and_an_unclear_one_late() -> None:
    """Twice as slow is decided at the first look; at the margin itself no look decides, and the budget ends it."""
    plan = sequential()
    assert plan.looks == (3, 5, 8, 12)
    assert plan.stop(runs(2, 0.1), runs(2, 0.2), spent=False) is None
    early = plan.stop(runs(3, 0.1), runs(3, 0.2), spent=False)
    assert early is not None
    assert early.level < 0.05
    assert "decided at look 1 of 4 (3 pairs)" in early.reason
    noisy = [run for k, run in enumerate(runs(4, 0.105)) if k % 2] + [
        run for k, run in enumerate(runs(4, 0.13)) if not k % 2
    ]
    assert plan.stop(runs(3, 0.1), sorted(noisy, key=lambda run: run.seed)[:3], spent=False) is None
    late = plan.stop(runs(4, 0.1), sorted(noisy, key=lambda run: run.seed), spent=True)
    assert late is not None
    assert late.reason.endswith("the budget ended")


def test_the_number_of_looks_respects_what_the_user_and_the_baseline_allow() -> None:
    """At most as many pairs as asked for, and as a stored baseline has runs."""
    assert sequential(most=6).looks == (3, 5, 6)
    assert sequential(available=5).looks == (3, 5)
    assert sequential(most=2).looks == (2,)


def test_a_reference_that_makes_no_pairs_is_no_reason_to_look() -> None:
    """A stored baseline of other payloads: nothing can be decided in between, and the end is no error."""
    plan = sequential()
    assert plan.stop(runs(3, 0.1, payloads="other"), runs(3, 0.1), spent=False) is None
    assert plan.stop(runs(3, 0.1, payloads="other"), runs(3, 0.1), spent=True) is not None


@pytest.mark.parametrize("looks", [(), (0, 3), (5, 3), (3, 3)])
def test_looks_are_increasing_numbers_of_pairs(looks: tuple[int, ...]) -> None:
    """Anything else is no plan."""
    with pytest.raises(ValidationError, match="looks"):
        Plan(looks=looks)


def test_mistakes_of_a_test_are_named() -> None:
    """What `measure` is given by hand is told at once, before any boot."""
    with pytest.raises(ConfigurationError, match="unknown metric 'p59'"):
        sequential(metrics=("p59",))
    with pytest.raises(ConfigurationError, match="repeats must be at least 1"):
        sequential(repeats=0)
