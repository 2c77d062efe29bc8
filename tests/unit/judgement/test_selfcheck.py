"""What comparing a service with itself says: its noise, what can be seen through it, and how often it lies."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from scipy import stats

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.judgement.selfcheck import SelfCheck, detectable, self_check
from tests.unit.judgement.test_stopping import runs


def noisy(count: int, sd: float, seed: int) -> list[object]:
    """Return runs whose boots differ by a log-normal factor."""
    rng = np.random.default_rng(seed)
    return [runs(k + 1, 0.1 * float(np.exp(rng.normal(0, sd))))[k] for k in range(count)]


def check(sd: float = 0.02, pairs: int = 40) -> SelfCheck:
    found = self_check(noisy(pairs, sd, 3), noisy(pairs, sd, 4), repeats=5, rng=np.random.default_rng(3))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_the_noise_between_boots_is_recovered() -> None:
    """A noise of 2 % per boot is found within its own interval, and the interval contains the estimate."""
    for noise in check().noise:
        low, high = noise.interval
        assert low < 0.02 < high
        assert low < noise.sd < high


def test_the_interval_of_the_noise_covers_as_it_says() -> None:
    """In 300 simulated self-checks of normal noise, the 90 % interval holds the truth in 90 % (within chance)."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(300):
        logs = rng.normal(0, 0.03, 8)
        low, high = (np.sqrt((logs**2).sum() / stats.chi2.ppf(q, 8)) for q in (0.95, 0.05))
        covered += low < 0.03 < high
    assert stats.binomtest(covered, 300, 0.9).pvalue > 0.001


@pytest.mark.parametrize(("pairs", "sd"), [(5, 0.01), (8, 0.04)])
def test_what_is_called_detectable_is_detected_nine_times_of_ten(pairs: int, sd: float) -> None:
    """Simulated t bounds of that many pairs put that slowdown above the margin in about 90 % of the cases."""
    slowdown = detectable(sd, pairs, margin=0.05, alpha=0.05)
    rng = np.random.default_rng(7)
    logs = rng.normal(np.log1p(slowdown), sd, (4000, pairs))
    low = logs.mean(axis=1) - stats.t.isf(0.05, pairs - 1) * logs.std(axis=1, ddof=1) / np.sqrt(pairs)
    assert (low > np.log(1.05)).mean() == pytest.approx(0.9, abs=0.02)


def test_more_noise_hides_more() -> None:
    """What can be detected grows with the noise, and shrinks with the pairs; one pair detects nothing."""
    by_noise = [detectable(sd, 5, margin=0.05, alpha=0.05) for sd in (0.001, 0.01, 0.1)]
    assert by_noise == sorted(by_noise)
    assert detectable(0.01, 12, margin=0.05, alpha=0.05) < detectable(0.01, 5, margin=0.05, alpha=0.05)
    assert detectable(0.01, 1, margin=0.05, alpha=0.05) == float("inf")


def test_a_side_that_is_slower_is_seen_as_false_alarms() -> None:
    """If "itself" is 30 % slower, the draws that keep both roles as they are find it REGRESSED."""
    found = self_check(runs(6, 0.1), runs(6, 0.13), repeats=3, rng=np.random.default_rng(1))
    assert found is not None
    assert found.false_alarms > 0


def test_too_little_is_no_self_check() -> None:
    """Two pairs, or runs without a finite percentile, say nothing."""
    assert self_check(runs(2, 0.1), runs(2, 0.1), repeats=5, rng=np.random.default_rng(1)) is None


def test_it_survives_json_and_refuses_anything_else() -> None:
    """What is stored is read back; what is not a self-check is refused."""
    before = check()
    assert SelfCheck.from_dict(json.loads(json.dumps(before.to_dict()))) == before
    single = replace(before, noise=tuple(replace(noise, detectable=inf, at_worst=inf) for noise in before.noise))
    assert SelfCheck.from_dict(json.loads(json.dumps(single.to_dict(), allow_nan=False))) == single
    for broken in ({}, {**before.to_dict(), "noise": 3}, {**before.to_dict(), "noise": [{}]}, {"pairs": "x"}):
        with pytest.raises(ValidationError, match="not a self-check"):
            SelfCheck.from_dict(broken)
