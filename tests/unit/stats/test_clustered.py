"""How far the requests of a few runs bound a percentile: by as many independent requests as they count for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_inferbench.stats.clustered import effective_size, percentile_bounds, stretches
from pytest_inferbench.stats.proportions import clopper_pearson
from pytest_inferbench.stats.quantiles import quantile

Runs = list[np.ndarray]


def _queue(rng: np.random.Generator, runs: int, n: int, utilisation: float, cv: float = 1.0) -> Runs:
    """Runs of a single-server queue that starts empty."""
    k = cv**-2
    gaps = rng.gamma(k, 1 / (k * utilisation), (runs, n))
    service = rng.gamma(4, 0.25, (runs, n))
    walk = np.concatenate([np.zeros((runs, 1)), np.cumsum(service[:, :-1] - gaps[:, 1:], axis=1)], axis=1)
    return list(walk - np.minimum.accumulate(walk, axis=1) + service)


def _all(rng: np.random.Generator, n: int, utilisation: float, cv: float, p: float) -> float:
    """The percentile of all requests of many runs."""
    return float(np.quantile(np.concatenate(_queue(rng, 8000, n, utilisation, cv)), p))


def test_independent_requests_count_nearly_whole() -> None:
    """Half of them at the median: what five runs cost is the price of not knowing how much runs differ."""
    rng = np.random.default_rng(1)
    counted = [effective_size(list(rng.random((5, 90)) < 0.05), 0.05) for _ in range(200)]
    assert max(counted) == 450
    assert 0.5 < np.median(counted) / 450 < 1


@pytest.mark.parametrize("what", ["queue", "boots"])
def test_requests_that_go_together_count_for_few(what: str) -> None:
    """Whether late requests follow one another or fall into some of the boots: they count for less than a third."""
    rng = np.random.default_rng(2)
    if what == "queue":
        events = [run > 4 for run in _queue(rng, 5, 400, 0.85)]
    else:
        events = list(rng.random((5, 400)) < np.array([[0.01], [0.02], [0.05], [0.08], [0.12]]))
    assert effective_size(events, 0.05) < 2000 / 3


def test_more_runs_know_better_how_much_runs_differ() -> None:
    """As many requests in more runs count for more."""
    rng = np.random.default_rng(3)
    few, many = (
        np.median([effective_size(list(rng.random((k, 600 // k)) < 0.1), 0.05) for _ in range(200)]) for k in (3, 10)
    )
    assert few < 0.6 * many


@pytest.mark.parametrize("events", [[np.zeros(50, bool)] * 3, [np.ones(50, bool)] * 3, [np.arange(50) < 5]])
def test_without_anything_to_go_by_requests_are_independent(events: Runs) -> None:
    """An event that never or always happened shows no dependence; nor do runs to compare, where there is one."""
    assert effective_size(events, 0.05) == sum(run.size for run in events)


def test_the_interval_holds_the_limits_that_are_not_excluded() -> None:
    """The bounds are the exact ones of the share of late requests, inverted: they are met at one end, not before."""
    rng = np.random.default_rng(4)
    runs = list(rng.exponential(size=(5, 200)))
    found = percentile_bounds(runs, 0.95, 0.05)
    pooled = np.concatenate(runs)

    def bounds(limit: float) -> tuple[float, float]:
        share = float((pooled > limit).mean())
        return clopper_pearson(share * found.effective, found.effective, 0.05)

    assert bounds(found.high)[1] <= 0.05 < bounds(np.nextafter(found.high, 0))[1]
    assert bounds(np.nextafter(found.low, 0))[0] > 0.05 >= bounds(found.low)[0]


def test_too_few_requests_have_no_upper_bound() -> None:
    """298 requests cannot bound p99 from above, whatever they are, and 10 nothing at all from above."""
    assert percentile_bounds([np.full(298, 1.0)], 0.99, 0.05).high == math.inf
    assert percentile_bounds([np.full(299, 1.0)], 0.99, 0.05).high == 1.0
    assert percentile_bounds([np.arange(10.0)] * 2, 0.95, 0.05).high == math.inf


def test_failures_are_beyond_every_limit() -> None:
    """With a tenth of the requests failed p95 is infinite at both ends, with a fiftieth at the upper one at most."""
    rng = np.random.default_rng(5)

    def failing(each: int) -> Runs:
        runs = [rng.exponential(size=400) for _ in range(5)]
        for run in runs:
            run[rng.permutation(400)[:each]] = np.inf
        return runs

    assert percentile_bounds(failing(40), 0.95, 0.05).low == math.inf
    assert percentile_bounds(failing(8), 0.95, 0.05).low < 10


@pytest.mark.parametrize(
    ("utilisation", "cv", "before"), [(0.5, 1.0, 0.12), (0.7, 1.0, 0.2), (0.85, 1.0, 0.3), (0.7, 3.0, 0.3)]
)
def test_a_limit_at_the_true_percentile_is_hardly_ever_met(utilisation: float, cv: float, before: float) -> None:
    """Five runs of 90 requests each, as shipped: the upper end lies below the true p95 in at most 7.5 % of 400.

    Student's t over one quantile per run has it there in far more: a short run hardly ever sees the worst of a queue.
    """
    rng = np.random.default_rng([6, int(100 * utilisation)])
    true = _all(rng, 90, utilisation, cv, 0.95)
    met = quantiles = 0
    for _ in range(400):
        runs = _queue(rng, 5, 90, utilisation, cv)
        met += percentile_bounds(runs, 0.95, 0.05).high <= true
        logs = np.log([quantile(run, 0.95) for run in runs])
        quantiles += logs.mean() + 2.132 * logs.std(ddof=1) / math.sqrt(5) <= math.log(true)
    assert met / 400 <= 0.075
    assert quantiles / 400 > before


def test_room_is_found() -> None:
    """Independent latencies of a third's spread, p95 15 % below the limit, 5 runs of 90: found in over 85 %."""
    rng = np.random.default_rng(7)
    limit = math.exp(0.3 * 1.6449) / 0.85
    met = [
        percentile_bounds(list(np.exp(0.3 * rng.normal(size=(5, 90)))), 0.95, 0.05).high <= limit for _ in range(400)
    ]
    assert np.mean(met) > 0.85


def test_a_single_run_is_cut_into_five_stretches() -> None:
    """Nothing is lost or repeated, several runs stay as they are, and fewer requests than stretches are no trouble."""
    (run,) = ([np.arange(23.0)],)
    parts = stretches(run)
    assert [part.size for part in parts] == [5, 5, 5, 4, 4]
    assert np.concatenate(parts).tolist() == run[0].tolist()
    assert stretches([run[0], run[0]])[1] is run[0]
    assert len(stretches([np.arange(3.0)])) == 3
    assert percentile_bounds([np.array([1.0])], 0.95, 0.05).high == math.inf


@pytest.mark.parametrize("count", [1, 2, 5])
def test_no_percentile_lies_below_the_quickest_request(count: int) -> None:
    """However much slow requests cluster: a limit that every single request of every run exceeded is exceeded."""
    rng = np.random.default_rng(3)
    runs = [0.1 + np.where(np.arange(80) < 40, 5.0, 0.0) + rng.exponential(0.01, 80) for _ in range(count)]
    found = percentile_bounds(runs, 0.5, 0.05)
    assert found.low >= min(run.min() for run in runs)
    assert percentile_bounds([np.full(30, np.inf)] * count, 0.95, 0.05).low == np.inf
