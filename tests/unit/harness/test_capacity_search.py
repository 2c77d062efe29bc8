"""The search for a capacity: its seeds, what tells two searches apart, and a service that answers nothing well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from pytest_inferbench.config.profile import resolve_profiles
from pytest_inferbench.errors import CapacityError
from pytest_inferbench.harness import capacity
from pytest_inferbench.harness.capacity import CapacitySearch
from pytest_inferbench.harness.trial import LoadOptions, Procedure, System
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.loadgen import Target
from pytest_inferbench.runs.run import Failure, Run
from pytest_inferbench.workload.arrivals import Schedule


class Service:
    """A deployment that is always up."""

    url = "http://127.0.0.1:1"
    alive = True
    worker_count = 1
    boot_seconds = 0.0

    def boot(self, progress: Callable[[float, str], None] | None = None) -> None: ...

    def stop(self) -> None: ...

    def log_tail(self) -> str:
        return ""


class Generator:
    """Answers in 10 ms up to 50 requests per second, and in a second beyond; notes what it was asked."""

    issued: ClassVar[list[tuple[int, str, tuple[object, ...]]]] = []
    failure = Failure.NONE

    def __init__(self, target: Target, **options: object) -> None:
        self.target = target

    async def issue_closed(self, payloads: Sequence[object], *, concurrency: int) -> Run:
        at = np.arange(len(payloads), dtype=np.int64) * 20_000_000
        failure = np.full(at.size, self.failure)
        status = np.where(failure == Failure.NONE, 200, 503)
        return Run(at, at, at + 20_000_000, status, failure, closed_loop=True)

    async def issue(self, schedule: Schedule, payloads: Sequence[object]) -> Run:
        type(self).issued.append((schedule.seed, schedule.digest, tuple(payloads)))
        at = schedule.offsets_ns
        rate = len(at) / (at[-1] / 1e9)
        return Run(at, at, at + (10_000_000 if rate < 50 else 1_000_000_000), np.full(at.size, 200))


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> type[Generator]:
    """The load generator of the search."""
    monkeypatch.setattr(Generator, "issued", [])
    monkeypatch.setattr(Generator, "failure", Failure.NONE)
    monkeypatch.setattr(capacity, "LoadGenerator", Generator)
    monkeypatch.setattr(LoadOptions, "generator", lambda self, target, report=None: Generator(target))
    return Generator


async def warm_already(*args: object) -> tuple[()]:
    return ()


def search(**other: Any) -> CapacitySearch:
    given: dict[str, Any] = {
        "target": Target("/predict"),
        "payloads": [f"text {number}" for number in range(50)],
        "seed": 0,
        "observe": lambda event: None,
        "precision": 0.2,
        "procedure": Procedure(warm_up=warm_already),
    }
    return CapacitySearch(**{**given, **other})


def find(searched: CapacitySearch, *, boots: int) -> capacity.Capacity:
    profile = resolve_profiles({}, where="here")["baseline"]
    system = System(name="baseline", profile=profile, deploy=Service)  # type: ignore[arg-type]
    return asyncio.run(searched.find(system, SLO(p95="100ms"), boots=boots))


def test_each_probe_of_each_boot_has_arrivals_and_payloads_of_its_own(generator: type[Generator]) -> None:
    """No two probes share a seed, a schedule or the order of payloads: the interval holds the luck of arrivals."""
    found = find(search(), boots=3)
    assert len(found.boots) == 3
    assert len(generator.issued) == len(found.probes) > 6
    for column in zip(*generator.issued, strict=True):
        assert len(set(column)) == len(found.probes)


def test_the_same_search_makes_the_same_probes(generator: type[Generator]) -> None:
    """All of it is derived from one seed: a second search issues the same, another seed issues something else."""
    find(search(), boots=2)
    first, generator.issued = generator.issued, []
    find(search(), boots=2)
    again, generator.issued = generator.issued, []
    find(search(seed=1), boots=2)
    assert first == again != generator.issued


@pytest.mark.parametrize("failure", [Failure.STATUS, Failure.TIMEOUT])
def test_a_closed_loop_without_a_good_answer_is_an_error_with_its_cause(
    generator: type[Generator], failure: Failure
) -> None:
    """There is no rate to begin with: said in words, with what the requests failed of."""
    generator.failure = failure
    with pytest.raises(CapacityError, match=rf"none of 96 had a good answer \(96 x {failure.name.lower()}\)"):
        find(search(), boots=1)


@pytest.mark.parametrize(
    "other",
    [
        {"target": Target("/other")},
        {"target": Target("/predict", headers={"Authorization": "Bearer b"})},
        {"target": Target("/predict", method="PUT")},
        {"payloads": ["something else"]},
        {"payloads": lambda count, rng: ["made"] * count},
        {"seed": 1},
        {"duration": 5.0},
        {"load_options": LoadOptions(generators=2)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_search_with_another_load_is_another_search(other: dict[str, Any]) -> None:
    """Another target, header value, payload or length is not answered by what was found before."""
    assert search(**other).identity != search().identity
    assert search().identity == search().identity


def test_what_tells_searches_apart_shows_no_secret() -> None:
    """The value of a header counts, and is not in what is remembered."""
    one = search(target=Target("/predict", headers={"Authorization": "Bearer abc"})).identity
    two = search(target=Target("/predict", headers={"Authorization": "Bearer def"})).identity
    assert one != two
    assert "abc" not in repr(one)
