"""A machine that changed since the baseline was recorded: which verdicts stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from pytest_inferbench.judgement.comparison import compare, compare_family
from pytest_inferbench.judgement.machine_drift import discount, machine_drift, machine_that_explains
from pytest_inferbench.judgement.measurement import Measurement, Reference
from pytest_inferbench.judgement.outcome import Outcome
from pytest_inferbench.judgement.stopping import sequential_decision
from pytest_inferbench.runs.run import Failure, Run
from pytest_inferbench.runs.usage import Resources, ServiceUsage
from tests.unit.examples import measurement

PASS, REGRESSED, IMPROVED, INCONCLUSIVE = Outcome.PASS, Outcome.REGRESSED, Outcome.IMPROVED, Outcome.INCONCLUSIVE

#: Each boot is off by so much, as a logarithm: mean 0, standard deviation 0.0025.
BOOTS = np.array([-0.003, -0.001, 0.0, 0.001, 0.003])


def unqueued(seed: int, factor: float, *, work: float = 0.1, failed: int = 0) -> Run:
    """60 requests, 1 s apart, that take ``factor`` times ``work`` seconds, 0 to 20 % more: nobody waits for another."""
    due = np.arange(60, dtype=np.int64) * 1_000_000_000
    took = factor * work * (1 + 0.2 * np.arange(60) / 59)
    kinds = np.where(np.arange(60) < 60 - failed, np.uint8(Failure.NONE), np.uint8(Failure.RESET))
    return Run(
        due,
        due,
        due + (took * 1e9).astype(np.int64),
        np.where(kinds == Failure.NONE, 200, 0),
        failure=kinds,
        seed=seed,
        digest=f"schedule {seed}",
    )


def read(runs: Sequence[Run], *times: float) -> tuple[Run, ...]:
    """The runs beside which the reference computation took so many milliseconds each."""
    return tuple(replace(run, calibration_ns=round(1e6 * ms)) for run, ms in zip(runs, times, strict=True))


def sides(factor: float, machine: float | None, *, jitter: float = 0.005) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    """Runs that take ``factor`` as long as the baseline's, on a machine whose computation takes ``machine`` as long."""
    wobble = [1, 1 + jitter, 1 - jitter, 1 + jitter, 1 - jitter]
    before = read([unqueued(k, 1) for k in range(5)], *(20 * w for w in wobble))
    after = [unqueued(k, factor * math.exp(boot)) for k, boot in enumerate(BOOTS)]
    return before, tuple(after) if machine is None else read(after, *(20 * machine * w for w in wobble))


def stored(factor: float, machine: float | None, *, is_stored: bool = True) -> Measurement:
    """A measurement of those runs, with the baseline as its reference."""
    before, after = sides(factor, machine)
    return measurement(runs=after, reference=Reference(label="baseline 2026-01-01", runs=before, stored=is_stored))


@pytest.mark.parametrize(
    ("factor", "machine", "outcome"),
    [
        pytest.param(1.3, 1.0, REGRESSED, id="slower, the machine is as it was"),
        pytest.param(1.3, None, REGRESSED, id="slower, the machine's speed was not recorded"),
        pytest.param(1.3, 0.8, REGRESSED, id="slower on a faster machine"),
        pytest.param(1.3, 1.2, INCONCLUSIVE, id="slower on a slower machine"),
        pytest.param(3.0, 1.2, REGRESSED, id="slower than that machine explains"),
        pytest.param(1.0, 1.2, PASS, id="as fast on a slower machine"),
        pytest.param(0.7, 1.2, IMPROVED, id="faster on a slower machine"),
        pytest.param(1.0, 0.8, INCONCLUSIVE, id="as fast on a faster machine"),
        pytest.param(0.8, 0.8, PASS, id="faster by what the machine is"),
        pytest.param(0.5, 0.8, IMPROVED, id="faster by more than the machine is"),
        pytest.param(1.0, 0.98, PASS, id="the machine is faster by less than the margin"),
    ],
)
def test_what_the_machine_may_explain_is_not_decided(factor: float, machine: float | None, outcome: Outcome) -> None:
    """Neither is a slow hour called a regression, nor does a fast one hide one; the rest stands."""
    assert stored(factor, machine).has_not_regressed(metrics=["p50"]).outcome is outcome


def test_compare_is_pure_and_does_the_same() -> None:
    """`stored` alone makes the difference, for one metric, a family and a look; ratio and interval are as measured."""
    before, after = sides(1.3, 1.2)
    plain, discounted = compare(before, after, metric="p50"), compare(before, after, metric="p50", stored=True)
    assert (plain.outcome, discounted.outcome) == (REGRESSED, INCONCLUSIVE)
    assert (plain.ratio, plain.interval) == (discounted.ratio, discounted.interval)
    family = compare_family(before, after, metrics=("p50", "p95"), stored=True)
    assert [check.outcome for check in family] == [INCONCLUSIVE, INCONCLUSIVE]
    for known, outcome in ((False, REGRESSED), (True, INCONCLUSIVE)):
        look = sequential_decision(before, after, metrics=("p50",), looks=(5, 8), stored=known)
        assert look.comparisons[0].outcome is outcome
    arrays = [run.latencies for run in before], [run.latencies for run in after]
    assert compare(*arrays, metric="p50", stored=True).outcome is REGRESSED  # arrays know of no machine


@pytest.mark.parametrize(("machine", "outcome"), [(1.02, REGRESSED), (1.04, INCONCLUSIVE)])
def test_what_is_beyond_chance_is_granted_twice(machine: float, outcome: Outcome) -> None:
    """10 % slower, no queue, the machine known exactly: 2 x 2 % leaves 6 %, 2 x 4 % leaves 2 %; the margin is 5 %."""
    before, after = sides(1.1, machine, jitter=0)
    assert compare(before, after, metric="p50", stored=True).outcome is outcome


@pytest.mark.parametrize(("change", "outcome"), [(0.0575, INCONCLUSIVE), (0.0595, REGRESSED)])
def test_the_uncertainty_of_the_machine_counts_once(change: float, outcome: Outcome) -> None:
    """By hand: readings of log +-0.025, 0 and +-0.05 (5 a side, mean 0) have a variance of 0.0015625 each, so that of
    the mean is 0.0003125; two sides and the boots' 0.000001 make a standard error of 0.02502 and 8.03 degrees of
    freedom, where 2.5 % lie beyond 2.304 of it: the change must exceed 0.0576."""
    logs = np.array([-0.05, -0.025, 0.0, 0.025, 0.05])
    assert logs.var(ddof=1) == pytest.approx(0.0015625)
    before = read([unqueued(k, 1) for k in range(5)], *20 * np.exp(logs))
    after = read([unqueued(k, math.exp(change + boot)) for k, boot in enumerate(BOOTS)], *20 * np.exp(logs))
    drift = machine_drift(before, after, alpha=0.05)
    assert drift is not None
    assert (drift.log.value, drift.log.df) == pytest.approx((0, 8))
    half = special.stdtrit(8, 0.95) * math.sqrt(2 * 0.0003125)
    assert drift.interval == pytest.approx((math.exp(-half), math.exp(half)), rel=1e-6)
    explains = machine_that_explains(compare(before, after, metric="p50"), before)
    assert explains is not None
    assert explains.value == pytest.approx(change, abs=1e-6)
    assert compare(before, after, metric="p50").outcome is REGRESSED
    assert compare(before, after, metric="p50", stored=True).outcome is outcome


def answers(arrivals: NDArray[np.float64], work: NDArray[np.float64]) -> NDArray[np.float64]:
    """When a single server answers requests that need so much work, one after the other."""
    ends, end = np.empty_like(work), 0.0
    for i, (due, needs) in enumerate(zip(arrivals.tolist(), work.tolist(), strict=True)):
        end = max(end, due) + needs
        ends[i] = end
    return ends


def queued(rng: np.random.Generator, factor: float, machine: float, jitter: float) -> list[tuple[Run, ...]]:
    """Five runs of 90 requests of both systems at utilisation 1/2 under the same arrivals, 1 % noise between boots."""
    arrivals = np.cumsum(rng.exponential(1, (5, 90)), axis=1)
    sizes = 0.5 * rng.gamma(8, 1 / 8, (5, 90))
    made = []
    for slower, computation in ((1.0, 1.0), (factor * machine, machine)):
        runs = []
        for k in range(5):
            work = slower * math.exp(0.01 * rng.standard_normal()) * sizes[k] * np.exp(0.05 * rng.standard_normal(90))
            due, done = (1e9 * arrivals[k]).astype(np.int64), (1e9 * answers(arrivals[k], work)).astype(np.int64)
            runs.append(Run(due, due, done, np.full(90, 200), seed=k, digest=f"schedule {k}"))
        made.append(read(runs, *20 * computation * np.exp(jitter * rng.standard_normal(5))))
    return made


@pytest.mark.parametrize(
    ("factor", "machine", "jitter", "at_least", "at_most"),
    [
        pytest.param(1.1, 1.0, 0.03, 17, 20, id="10 % slower, a jitter of 3 %"),
        pytest.param(1.15, 1.0, 0.03, 19, 20, id="15 % slower, a jitter of 3 %"),
        pytest.param(1.0, 1.05, 0.015, 0, 1, id="the machine is 5 % slower"),
        pytest.param(1.0, 1.2, 0.03, 0, 1, id="the machine is 20 % slower"),
        pytest.param(1.0, 1.5, 0.005, 0, 1, id="the machine is 50 % slower"),
    ],
)
def test_a_regression_is_found_and_a_slower_machine_is_none(
    factor: float, machine: float, jitter: float, at_least: int, at_most: int
) -> None:
    """Of 20 simulated measurements; the rule before this one found 10 % in 2 of 20 at this jitter."""
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(20):
        before, after = queued(rng, factor, machine, jitter)
        found += compare(before, after, metric="p50", stored=True).outcome is REGRESSED
    assert at_least <= found <= at_most


def test_a_queue_multiplies_the_machine_and_so_what_it_explains() -> None:
    """At utilisation 1/2, a machine that takes 1.2 times as long explains far more than 1.2, and is found to."""
    before, after = queued(np.random.default_rng(2), 1.0, 1.2, 0.005)
    check = compare(before, after, metric="p50")
    assert check.ratio > 1.3
    explains = machine_that_explains(check, before)
    assert explains is not None
    assert math.exp(explains.value) == pytest.approx(1.2, abs=0.03)


def test_the_verdict_says_so_and_what_to_do() -> None:
    """How much the machine changed, what would explain the change, and that --against decides."""
    verdict = stored(1.3, 1.2).has_not_regressed(metrics=["p50"])
    text = " ".join(repr(verdict).split())
    assert "p50: the machine's reference computation takes x1.200 (1.193 to 1.207) as long now" in text
    assert "it is not excluded that one at x1.300 explains the change alone" in text
    assert (
        "To decide: measure the recorded revision too (--inferbench-control), compare in one session (--against)"
        in text
    )
    assert verdict.passed


def test_a_machine_that_changed_is_a_finding() -> None:
    """Slower or faster beyond chance, with the ratio and the way out; nothing where it may be as it was."""

    def findings(machine: float, jitter: float) -> tuple[object, ...]:
        drift = machine_drift(*sides(1.0, machine, jitter=jitter), alpha=0.05)
        assert drift is not None
        return drift.findings

    drift = machine_drift(*sides(1.0, 1.2), alpha=0.05)
    assert drift is not None
    (slower,) = drift.findings
    assert (slower.kind, slower.rule) == ("machine", "machine")
    assert slower.value == pytest.approx(1.2)
    assert "slower than when the baseline was recorded: the reference computation takes x1.200" in slower.message
    assert "--against" in slower.recommendation
    assert "faster than when" in str(findings(0.9, 0.005))
    assert findings(1.02, 0.03) == ()


@pytest.mark.parametrize(("machine", "outcome"), [(1.2, REGRESSED), (1.3, INCONCLUSIVE)])
def test_saturation_may_be_the_machines_only_if_it_lost_what_there_was_to_spare(
    machine: float, outcome: Outcome
) -> None:
    """Every run fails; the service had work for 2/3 of the time: 1.2 x 1.2 < 3/2 explains nothing, 1.3 x 1.3 all."""
    before = read([unqueued(k, 1, work=2 / 3 / 1.1) for k in range(5)], *[20.0] * 5)
    after = read([unqueued(k, 1, failed=50) for k in range(5)], *[20 * machine] * 5)
    assert compare(before, after, metric="p50").outcome is REGRESSED
    assert compare(before, after, metric="p50", stored=True).outcome is outcome


def test_systems_in_turns_share_the_machine() -> None:
    """Where both systems were measured in one session nothing is discounted."""
    assert stored(1.3, 1.2, is_stored=False).has_not_regressed(metrics=["p50"]).outcome is REGRESSED


@pytest.mark.parametrize(("machine", "outcome"), [(1.0, REGRESSED), (1.3, INCONCLUSIVE)])
def test_latency_by_size_is_treated_alike(machine: float, outcome: Outcome) -> None:
    """Its classes of sizes are held against the machine's change like any percentile, by the formula of a queue."""
    before, after = sides(1.4, machine)
    sizes = np.array([10, 40, 90, 200] * 15)
    before, after = (tuple(replace(r, sizes=sizes) for r in runs) for runs in (before, after))
    reference = Reference(label="baseline 2026-01-01", runs=before, stored=True)
    assert measurement(runs=after, reference=reference).curve_has_not_regressed(edges=[1, 50, 300]).outcome is outcome


def test_throughput_is_better_when_it_is_higher() -> None:
    """A throughput that fell by as much as such a machine makes it fall is not decided; one that fell by more is."""
    before = read([unqueued(k, 1, work=0.9 / 1.1) for k in range(5)], *[20.0] * 5)  # 0.9 of each second
    for factor, outcome in ((1.3, INCONCLUSIVE), (2.5, REGRESSED)):
        after = read([_in_a_queue(k, factor * math.exp(BOOTS[k])) for k in range(5)], *[26.0] * 5)
        check = compare(before, after, metric="throughput")
        assert check.outcome is REGRESSED
        assert compare(before, after, metric="throughput", stored=True).outcome is outcome


def _in_a_queue(seed: int, factor: float) -> Run:
    """The requests of `unqueued` with 0.9 s of work each on a machine that takes ``factor`` as long: saturated."""
    run = unqueued(seed, 1, work=0.9 / 1.1)
    done = answers(run.scheduled_ns / 1e9, factor * run.latencies)
    return replace(run, completed_ns=(done * 1e9).astype(np.int64))


def test_a_closed_loop_has_no_queue_that_multiplies() -> None:
    """A change of 30 % is explained by a machine of 30 %, whatever its replay would be."""
    before, after = (tuple(replace(r, closed_loop=True) for r in runs) for runs in sides(1.3, 1.0))
    explains = machine_that_explains(compare(before, after, metric="p50"), before)
    assert explains is not None
    assert math.exp(explains.value) == pytest.approx(1.3)


def test_failures_are_not_the_machines() -> None:
    """An error rate that rose stays a regression, on whatever machine."""
    before, _ = sides(1.0, 1.0)
    failing = read([unqueued(k, 1, failed=20) for k in range(5)], *[24.0] * 5)
    assert compare(before, failing, metric="error_rate", stored=True).outcome is REGRESSED


@pytest.mark.parametrize(
    ("milliseconds", "known"), [pytest.param(30, True, id="it computes"), pytest.param(1, False, id="it waits")]
)
def test_a_service_that_hardly_computes_is_not_the_machines(milliseconds: float, known: bool) -> None:
    """Of a usual 110 ms, 1 ms of CPU time per answer cannot be what a slower machine made longer; 30 ms can."""
    used = ServiceUsage(cpu_seconds=60 * milliseconds / 1000, peak_rss_bytes=1, processes=1, context_switches=1)
    before, after = sides(1.3, 1.2)
    after = tuple(replace(run, resources=Resources(service=used)) for run in after)
    assert (machine_drift(before, after, alpha=0.05) is not None) == known


def test_one_run_says_nothing() -> None:
    """A single reading on a side has no spread to judge by; neither do runs without one."""
    before, after = sides(1.0, 1.2)
    assert machine_drift(before[:1], after, alpha=0.05) is None
    assert machine_drift(before, sides(1.0, None)[1], alpha=0.05) is None
    check = compare(before, after, metric="p50")
    assert discount(check, None, before) is check
