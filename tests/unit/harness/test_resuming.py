"""What is stored of a measurement comes back equal; what cannot be what we stored is measured again; names last."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_inferbench import disruption as kinds
from pytest_inferbench.disruption import Disruption, DisruptionEvent, Freeze, KillWorker
from pytest_inferbench.harness.capacity import Capacity, Probe
from pytest_inferbench.harness.history import Pair
from pytest_inferbench.harness.resuming import load_capacity, load_pairs, resume_name, store_capacity, store_pairs
from pytest_inferbench.harness.trial import LoadOptions, Trial
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.judgement.validity import Finding
from pytest_inferbench.loadgen import Target
from pytest_inferbench.runs.run import ClockOffset, Failure, Run
from pytest_inferbench.runs.usage import GeneratorUsage, PodUsage, Resources, ServiceUsage
from pytest_inferbench.storage.documents import to_document
from pytest_inferbench.storage.resume_cache import ResumeCache
from tests.unit.examples import INVALID, SERVICE, run

#: Control characters are replaced, for they can make a terminal show something else.
TEXT = st.text(st.characters(exclude_categories=["Cc"]), max_size=20)
NUMBER = st.integers(-1, 2**53)
DISRUPTIONS = st.one_of(
    *(st.builds(kind, at=st.floats(0.001, 9)) for kind in get_args(Disruption)),
    st.just(KillWorker(at=0, workers="all")),
    st.just(Freeze(at="250ms", duration=1, workers=3)),
    st.just(kinds.MemoryPressure(at=1, amount="3MiB")),
    st.just(kinds.LimitCpu(at=1, cpu="250m")),
)
SECONDS = st.floats(0, 1e9)
RESOURCES = st.builds(
    Resources,
    service=st.none() | st.builds(ServiceUsage, cpu_seconds=SECONDS, throttled_seconds=st.none() | SECONDS),
    generator=st.none() | st.builds(GeneratorUsage, cpu_seconds=SECONDS),
    pods=st.lists(
        st.builds(
            PodUsage,
            pod=TEXT,
            node=TEXT,
            cpu_seconds=st.none() | SECONDS,
            peak_memory_bytes=st.none() | NUMBER,
            throttled_seconds=st.none() | SECONDS,
        ),
        max_size=2,
    ).map(tuple),
    events=st.lists(TEXT, max_size=2).map(tuple),
)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Facts that can be true together, of 0 to 6 requests."""
    n = draw(st.integers(0, 6))
    due = np.sort(np.array(draw(st.lists(st.integers(0, 2**50), min_size=n, max_size=n)), np.int64))
    failure = np.array(draw(st.lists(st.sampled_from(Failure), min_size=n, max_size=n)), np.uint8)
    unsent, unanswered = failure == Failure.UNISSUED, failure != Failure.NONE
    return Run(
        due,
        np.where(unsent, -1, due + 5),
        np.where(unanswered, -1, due + 1_000_001),
        np.where(unanswered, 0, 204),
        failure,
        server_timing={
            name: np.array(draw(st.lists(st.floats(width=32), min_size=n, max_size=n)), np.float32)
            for name in draw(st.lists(TEXT, max_size=2, unique=True))
        },
        seed=draw(st.integers(0, 2**64)),
        digest=draw(TEXT),
        payload_digest=draw(TEXT),
        closed_loop=draw(st.booleans()),
        clocks=tuple(draw(st.lists(st.builds(ClockOffset, TEXT, NUMBER, NUMBER), max_size=2))),
        resources=draw(st.none() | RESOURCES),
        sizes=draw(st.none() | st.just(np.arange(n))),
        calibration_ns=draw(st.none() | st.integers(1, 2**60)),
    )


FINDINGS = st.builds(
    Finding,
    TEXT,
    st.sampled_from(["invalid", "service", "machine"]),
    TEXT,
    st.floats(allow_nan=False) | st.integers(0, 9),
    st.floats(allow_nan=False).map(np.float64),
    TEXT,
)


@st.composite
def measured(draw: st.DrawFn) -> tuple[list[Pair], list[Disruption], bool]:
    """Pairs, the disruptions of each run, and whether there is a reference."""
    disruptions: list[Any] = draw(st.lists(DISRUPTIONS, max_size=2))
    paired = draw(st.booleans())
    instant = st.none() | NUMBER

    def trial() -> Trial:
        events = tuple(
            DisruptionEvent(
                disruption=each, began_ns=draw(instant), ended_ns=draw(instant), start_ns=9, detail=draw(TEXT)
            )
            for each in disruptions
        )
        return Trial(draw(runs()), tuple(draw(st.lists(FINDINGS, max_size=2))), events)

    count = draw(st.integers(0, 2))
    pairs = [Pair(seed=seed, candidate=trial(), reference=trial() if paired else None) for seed in range(count)]
    return pairs, disruptions, paired


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ResumeCache:
    return ResumeCache(tmp_path_factory.mktemp("cache"), resuming=True)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(measured())
def test_pairs_come_back_equal(cache: ResumeCache, given_: tuple[list[Pair], list[Disruption], bool]) -> None:
    """Every array, failure, timing, usage, finding and disruption with its parameters, to the last bit."""
    pairs, disruptions, paired = given_
    store_pairs(cache, pairs, "pairs")
    loaded = load_pairs(cache, "pairs", disruptions=disruptions, paired=paired)
    assert loaded == pairs
    for before, after in zip(pairs, loaded, strict=True):
        for one, other in zip(before.trials, after.trials, strict=True):
            for each in fields(Run):
                value = getattr(one.run, each.name)
                assert type(getattr(other.run, each.name)) is type(value)
                if isinstance(value, np.ndarray):
                    assert getattr(other.run, each.name).dtype == value.dtype
    assert cache.take_problem() == ""


CAPACITY = Capacity(
    profile="optimized",
    slo=SLO(p95="250ms", error_rate=0.01, throughput=5),
    rate=40.25,
    interval=(38.5, 41.75),
    boots=(40.0, 40.5),
    probes=(
        Probe(boot=1, rate=40.0, held=True, p95=0.123, error_rate=0.0),
        Probe(boot=2, rate=80.0, held=False, p95=float("inf"), error_rate=1.0),
    ),
)


def test_a_capacity_comes_back_equal(cache: ResumeCache) -> None:
    """With its probes, of which one had no finite p95, and the SLO as it was written; for that SLO and profile only."""
    store_capacity(cache, CAPACITY, "capacity")
    assert load_capacity(cache, "capacity", profile="optimized", slo=CAPACITY.slo) == CAPACITY
    assert load_capacity(cache, "capacity", profile="other", slo=CAPACITY.slo) is None
    assert load_capacity(cache, "capacity", profile="optimized", slo=SLO(p95="1s")) is None


PAIR = Pair(
    seed=0,
    candidate=Trial(run(n=3, sizes=[1, 2, 3], server_timing={"infer": [1.0, 2.0, 3.0]}), (SERVICE, INVALID)),
    reference=Trial(run(n=3, calibration_ns=7), ()),
)
HOSTILE: list[Any] = [
    *(None, True, -1, 2**200, 1e308, float("nan"), float("inf"), "", "x" * 10**5, "AAAA", "////////////////", [], {}),
    *([[[[[[1]]]]]], {"class": "Pair"}, {"class": "Popen", "args": "true"}, {"float": []}, {"float": "nan"}, "\x1b[2J"),
]


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every list or table of a document with each key in it."""
    for key in list(document) if isinstance(document, dict) else range(len(document)):
        yield document, key
        if isinstance(document[key], dict | list):
            yield from places(document[key])


def test_a_hostile_document_is_ignored_or_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value at each place of a document: pairs that figures can be computed of, or none; never an exception."""
    cache = ResumeCache(None)
    for value in HOSTILE:
        for number in range(len(list(places(to_document((PAIR,), tuple[Pair, ...]))))):
            document = to_document((PAIR,), tuple[Pair, ...])
            holder, key = list(places(document))[number]
            holder[key] = value
            monkeypatch.setattr(cache, "load", lambda name, found=document: found)
            for pair in load_pairs(cache, "pairs", disruptions=(), paired=True):
                for trial in pair.trials:
                    assert 0 <= trial.run.error_rate <= 1
                    assert not any("\x1b" in finding.message for finding in trial.findings)
                    assert [trial.run.count(Failure(code)) for code in np.asarray(trial.run.failure)]


@pytest.mark.parametrize(
    "change",
    [{"paired": False}, {"disruptions": [Freeze(at=1)]}],
    ids=["another reference", "other disruptions"],
)
def test_pairs_of_another_measurement_are_ignored(cache: ResumeCache, change: dict[str, Any]) -> None:
    """A document that was put under the name of a measurement of another shape."""
    expected: dict[str, Any] = {"paired": True, "disruptions": []}
    store_pairs(cache, [PAIR], "shape")
    assert load_pairs(cache, "shape", **expected) == [PAIR]
    assert load_pairs(cache, "shape", **{**expected, **change}) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"scheduled_ns": [3, 2, 1]},
        {"completed_ns": [-1, 5, 5]},
        {"issued_ns": [-1, 5, 5]},
        {"scheduled_ns": [-(2**63), 0, 2**63 - 1]},
        {"failure": [0, 0, 99]},
        {"status": [200, 200, -5]},
        {"sizes": [1, 2, -3]},
        {"seed": -1},
    ],
    ids=lambda changes: str(next(iter(changes.items()))),
)
def test_facts_that_cannot_be_true_are_ignored(cache: ResumeCache, changes: dict[str, Any]) -> None:
    """The types are right, but no run was like that."""
    store_pairs(cache, [replace(PAIR, reference=Trial(replace(run(n=3), **changes), ()))], "untrue")
    assert cache.take_problem() == ""
    assert load_pairs(cache, "untrue", disruptions=[], paired=True) == []


@pytest.mark.parametrize(
    "change", [{"rate": float("inf")}, {"rate": 0}, {"boots": ()}, {"boots": (-1.0,)}, {"interval": (50.0, 60.0)}]
)
def test_a_capacity_that_cannot_be_is_ignored(cache: ResumeCache, change: dict[str, Any]) -> None:
    """The types are right, but no search ended like that."""
    store_capacity(cache, replace(CAPACITY, **change), "capacity")
    assert load_capacity(cache, "capacity", profile="optimized", slo=CAPACITY.slo) is None


class Reluctant(Freeze):
    """A class of the user's that cannot be pickled, nor written as a document."""

    def __reduce__(self) -> Any:
        raise TypeError("no")


def test_what_cannot_be_stored_costs_the_chance_to_resume_only(tmp_path: Path) -> None:
    """A class of the user's in an event or an SLO: nothing is raised, and it is said which."""
    cache = ResumeCache(tmp_path, resuming=True)
    event = DisruptionEvent(disruption=Reluctant(at=1), began_ns=1, ended_ns=2, start_ns=0, detail="")
    store_pairs(cache, [replace(PAIR, candidate=replace(PAIR.candidate, events=(event,)))], "name")
    assert "Reluctant" in cache.take_problem()

    class Own(SLO):
        pass

    store_capacity(cache, replace(CAPACITY, slo=Own(p50=1)), "name")
    assert not list(tmp_path.iterdir())


class Opaque:
    """An object with the default repr, which has its address."""

    def __init__(self, level: int) -> None:
        self.level = level
        self.other = object()


@dataclass(frozen=True)
class OwnOptions:
    """Options with a field that is no plain value."""

    hook: object
    level: int = 1
    known: ClassVar[set[str]] = set()


def test_a_name_has_no_address_in_it() -> None:
    """Equal parts, made twice, have the same name; other parts have another."""

    def name(level: int = 1, **target: Any) -> str:
        parts = (
            OwnOptions(Opaque(level), level),
            Opaque,
            test_a_name_has_no_address_in_it,
            {"b", "a"},
            np.arange(level),
        )
        return resume_name(parts, Target("/x", **target), LoadOptions(), CAPACITY.slo, [KillWorker(at=1)], level)

    assert name() == name()
    assert len({name(), name(2), name(headers={"a": "1"}), name(headers={"a": "2"}), name(timeout=1.5)}) == 5
    assert len({resume_name(value) for value in (1, True, 1.0, "1", None, [1], {"1": 1}, Freeze(at=1))}) == 8


def test_a_name_is_the_same_in_another_process() -> None:
    """Sets of text, whose order changes with the process, included."""
    program = (
        "from pytest_inferbench.harness.resuming import resume_name; "
        "print(resume_name({'a', 'b', 'c'}, {'x': object(), 'y': len}))"
    )
    names = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    }
    assert names == {resume_name({"a", "b", "c"}, {"x": object(), "y": len})}


def test_what_cannot_be_named_is_never_found_again_and_never_an_error() -> None:
    """A property of the user's that raises; a list that contains itself has a name all the same."""

    class Broken:
        @property
        def __dict__(self) -> Any:  # type: ignore[override]
            raise RuntimeError("no")

    assert resume_name(Broken()) != resume_name(Broken())
    endless: list[Any] = []
    endless.append(endless)
    assert resume_name(endless) == resume_name(endless)
