"""One thing has one figure: what runs measured, wherever it is shown."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from pytest_inferbench.judgement.comparison import compare
from pytest_inferbench.judgement.estimate import estimate, typical
from pytest_inferbench.judgement.measurement import Reference
from pytest_inferbench.judgement.pairing import Sample
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.report.record import measurement_record
from pytest_inferbench.report.terminal import summary
from tests.unit.examples import measurement, run, runs

METRICS = ("p50", "p95", "throughput", "error_rate")


@pytest.mark.parametrize("failed", [0, 8])
def test_summary_comparison_and_slo_show_the_same_figure(failed: int) -> None:
    """Of the same runs, also where some requests failed on one side only: to the last digit."""
    before, after = runs(noise=0.2), runs(factor=1.3, noise=0.1, failed=failed)
    found = measurement(runs=after, reference=Reference(label="baseline x", runs=before))
    slo = SLO(p50="1s", p95="1s", throughput="1/s", error_rate="10%")
    found.meets(slo)
    made = measurement_record("t.py::test_x", found)
    compared = {check["metric"]: check for check in made["reference"]["comparisons"]}
    checked = {check["metric"]: check for check in made["verdicts"][0]["checks"]}
    for metric in METRICS:
        shown = made["figures"][metric]["estimate"]
        assert compared[metric]["candidate"] == checked[metric]["estimate"] == shown
        assert compared[metric]["reference"] == made["reference"]["figures"][metric]["estimate"]
        assert checked[metric]["interval"] == made["figures"][metric]["interval"]


def test_the_terminal_shows_one_p50() -> None:
    """The row of a measurement and the line of its comparison print the same milliseconds, for both sides."""
    found = measurement(runs=runs(factor=1.3, noise=0.3), reference=Reference(label="baseline x", runs=runs(noise=0.3)))
    made = measurement_record("t.py::test_x", found)
    lines = ["".join(span.text for span in line) for line in summary([made])]
    (compared,) = (line for line in lines if "p50" in line and "->" in line)
    ours, theirs = (next(line for line in lines if line.lstrip().startswith(name)) for name in ("steady", "vs"))
    before, after = compared.partition("p50 ")[2].partition(",")[0].split(" -> ")
    assert before in theirs
    assert after in ours


def test_the_ratio_of_two_figures_is_the_mean_ratio_of_the_runs() -> None:
    """Of latencies whose runs differ wildly too: the two sides that are shown explain the change that is shown."""
    rng = np.random.default_rng(1)
    before = [boot * rng.exponential(size=200) for boot in (1.0, 1.5, 4.0, 0.7, 2.0)]
    after = [1.2 * run for run in before]
    found = compare(before, after, metric="p95")
    assert found.candidate / found.reference == pytest.approx(found.ratio) == pytest.approx(1.2)


def test_several_runs_have_their_geometric_mean() -> None:
    """Of error rates the arithmetic one; of what is infinite or zero the upper median; of nothing NaN."""
    assert typical([1.0, 4.0], "p95") == pytest.approx(2.0)
    assert typical([0.0, 0.5], "error_rate") == 0.25
    assert typical([1.0, 2.0, math.inf], "p95") == 2.0
    assert typical([1.0, math.inf], "p95") == math.inf
    assert math.isnan(typical([], "p95"))


@pytest.mark.parametrize("metric", ["p50", "p95", "p99", "error_rate", "throughput"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_interval_holds_the_figure(metric: str, count: int) -> None:
    """Whatever the runs: bursts in one of them set the typical run and the requests of all apart."""
    rng = np.random.default_rng([2, count])
    for seed in range(20):
        made = run(seed=seed, n=int(rng.integers(2, 300)), failed=int(rng.integers(0, 2)))
        others = [run(seed=100 + seed + k, factor=float(rng.lognormal(0, 1)), n=200) for k in range(count - 1)]
        found = estimate([Sample(one.latencies, one) for one in (made, *others)], metric, alpha=0.05)
        assert found.interval[0] <= found.value <= found.interval[1]


def test_intervals_know_no_unit() -> None:
    """The same runs in milliseconds have the same interval in milliseconds."""
    samples = [Sample(one.latencies) for one in runs(noise=0.05)]
    slow = [Sample(1000 * one.latencies) for one in samples]
    for metric in ("p50", "p95"):
        small, large = (estimate(side, metric, alpha=0.05) for side in (samples, slow))
        assert large.interval == pytest.approx(tuple(1000 * end for end in small.interval))


@pytest.mark.parametrize("count", [1, 5])
def test_a_measurement_takes_few_bytes_per_request(count: int) -> None:
    """Its record and an SLO take at most 200 bytes per request at their peak; a bootstrap took 33,000 for one run."""
    found = measurement(runs=tuple(run(seed=seed, n=10_000 // count) for seed in range(count)))
    measurement_record("t.py::test_x", measurement())  # what is imported on first use is no matter of requests
    tracemalloc.start()
    try:
        found.meets(SLO(p95="1s", error_rate="1%", throughput="1/s"))
        measurement_record("t.py::test_x", found)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / 10_000 < 200
