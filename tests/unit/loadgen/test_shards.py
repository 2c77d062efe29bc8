"""A schedule dealt out to several generators and put together again is the schedule; a clock is known or refused."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_inferbench.errors import LoadError, ValidationError
from pytest_inferbench.events import Progress
from pytest_inferbench.loadgen.clocks import bounded, offset_of
from pytest_inferbench.loadgen.messages import Message, dumps, loads
from pytest_inferbench.loadgen.payloads import Bodies, serialize
from pytest_inferbench.loadgen.progress import ProgressSum
from pytest_inferbench.loadgen.shards import Work, merge, split
from pytest_inferbench.runs.run import ClockOffset, Failure

MS = 1_000_000


def _work(n: int = 10, *, concurrency: int = 0, **target: object) -> Work:
    offsets = None if concurrency else np.arange(n, dtype=np.int64) * MS
    bodies = serialize([f"body {i % 3}" for i in range(n)])
    return Work(target, bodies, offsets, drain_ns=500 * MS, concurrency=concurrency)


def _answered(job: Message, *, start_ns: int, metrics: tuple[str, ...] = ()) -> Message:
    """What a generator would report of ``job`` that started at ``start_ns``: request i's status tells its offset."""
    offsets = job.arrays["offsets_ns"]
    issued = offsets + start_ns + 7
    arrays = {
        "scheduled_ns": offsets + start_ns,
        "issued_ns": np.where(offsets == 3 * MS, -1, issued),
        "completed_ns": np.where(offsets == 3 * MS, -1, issued + MS),
        "status": (offsets // MS).astype(np.int16),
        "failure": np.where(offsets == 3 * MS, Failure.UNISSUED, Failure.NONE).astype(np.uint8),
    }
    arrays |= {f"server_timing.{k}": (offsets / MS).astype(np.float32) for k in range(len(metrics))}
    return Message("run", {"server_timing": list(metrics)}, arrays)


def _texts(arrays) -> list[str]:
    bodies = Bodies.of(arrays)
    distinct = bodies.distinct()
    return [distinct[i].decode() for i in bodies.index]


@pytest.mark.parametrize("generators", [1, 2, 3, 10, 64])
def test_every_request_goes_to_exactly_one_generator(generators: int) -> None:
    """Offsets and bodies of all jobs, interleaved, are those of the work; no generator is without a request."""
    jobs = split(_work(), generators)
    assert len(jobs) == min(generators, 10)
    offsets, texts = np.zeros(10, np.int64), [""] * 10
    for k, job in enumerate(jobs):
        offsets[k :: len(jobs)] = job.arrays["offsets_ns"]
        texts[k :: len(jobs)] = _texts(job.arrays)
    assert offsets.tolist() == [i * MS for i in range(10)]
    assert texts == [f"body {i % 3}" for i in range(10)]


def test_all_generators_drain_until_the_same_instant() -> None:
    """However early its own last request is due, each waits until the drain of the whole schedule ends."""
    ends = {int(job.arrays["offsets_ns"][-1]) + job.facts["drain_ns"] for job in split(_work(), 4)}
    assert ends == {509 * MS}


def test_a_generator_gets_only_the_bodies_that_it_sends() -> None:
    """A job does not carry the bodies of the others."""
    jobs = split(_work(9), 3)
    assert [Bodies.of(job.arrays).distinct() for job in jobs] == [[b"body 0"], [b"body 1"], [b"body 2"]]


def test_users_and_connections_are_divided() -> None:
    """Seven users and five connections over three generators are seven and five in all; too few are refused."""
    closed = split(_work(20, concurrency=7, max_connections=5), 3)
    assert [job.facts["concurrency"] for job in closed] == [3, 2, 2]
    assert [job.facts["target"]["max_connections"] for job in closed] == [2, 2, 1]
    assert len(split(_work(20, concurrency=2), 3)) == 2
    with pytest.raises(ValidationError, match="max_connections=2 cannot be divided among 3"):
        split(_work(20, max_connections=2), 3)


@pytest.mark.parametrize("generators", [1, 2, 3, 10])
def test_the_merged_facts_are_those_of_a_single_generator(generators: int) -> None:
    """Merging what each generator reports gives what one generator reports of the whole, unissued requests too."""
    whole = _answered(split(_work(), 1)[0], start_ns=MS)
    parts = [_answered(job, start_ns=MS) for job in split(_work(), generators)]
    merged = merge(parts)
    assert merged.facts == whole.facts
    assert merged.arrays.keys() == whole.arrays.keys()
    for name, values in whole.arrays.items():
        assert np.array_equal(merged.arrays[name], values), name
        assert merged.arrays[name].dtype == values.dtype


def test_another_clock_is_shifted_and_a_missing_instant_is_not() -> None:
    """Instants of a clock that is 5 ms ahead come back to ours; -1 stays -1."""
    jobs = split(_work(), 2)
    merged = merge([_answered(jobs[0], start_ns=0), _answered(jobs[1], start_ns=5 * MS)], shifts_ns=[0, -5 * MS])
    assert merged.arrays["scheduled_ns"].tolist() == [i * MS for i in range(10)]
    assert merged.arrays["issued_ns"][3] == -1


def test_server_timing_of_all_generators_is_kept() -> None:
    """A metric that only one generator saw is NaN for the requests of the other."""
    jobs = split(_work(4), 2)
    merged = merge(
        [_answered(jobs[0], start_ns=0, metrics=("infer",)), _answered(jobs[1], start_ns=0, metrics=("queue", "infer"))]
    )
    assert merged.facts["server_timing"] == ["infer", "queue"]
    assert merged.arrays["server_timing.0"].tolist() == [0, 1, 2, 3]
    assert np.isnan(merged.arrays["server_timing.1"][::2]).all()


def test_progress_is_the_sum_over_generators() -> None:
    """Counts add up; a report goes out with each of the first generator's, with the length of the whole."""
    seen: list[Progress] = []
    total = ProgressSum(seen.append, scheduled=20, total_ns=2_000_000_000)
    total.report(1, {"elapsed_ns": 1, "issued": 5, "completed": 4, "failed": 1})
    assert seen == []
    total.report(0, {"elapsed_ns": 500_000_000, "issued": 6, "completed": 6, "failed": 0})
    assert seen == [Progress(elapsed=0.5, total=2.0, scheduled=20, issued=11, completed=10, failed=1)]


def test_the_figures_told_are_those_of_the_worst_generator() -> None:
    """Latencies and delay are the largest that any generator reports; none, as long as none has a request."""
    seen: list[Progress] = []
    total = ProgressSum(seen.append, scheduled=20, total_ns=2_000_000_000)
    counts = {"elapsed_ns": 1, "issued": 5, "completed": 4, "failed": 0}
    total.report(0, counts)
    total.report(1, {**counts, "p50_ns": 3_000_000, "p95_ns": 9_000_000, "delay_ns": 10_000})
    total.report(0, {**counts, "p50_ns": 4_000_000, "p95_ns": 8_000_000, "delay_ns": 20_000})
    assert [(p.p50, p.p95, p.delay) for p in seen] == [(None, None, None), (0.004, 0.009, 0.00002)]


def test_a_message_survives_as_bytes() -> None:
    """What dumps makes, loads reads; cut short it is an EOFError."""
    data = dumps(Message("job", {"a": 1}, {"x": np.arange(3)}))
    again = loads(data)
    assert (again.kind, again.facts, again.arrays["x"].tolist()) == ("job", {"a": 1}, [0, 1, 2])
    with pytest.raises(EOFError):
        loads(data[:-1])


def test_a_clock_is_read_off_its_tightest_pair() -> None:
    """A clock 1 s ahead is found within half of the shortest round trip, whatever the slow ones say."""
    readings = [(0, 10**9 + 40 * MS, 50 * MS), (100 * MS, 10**9 + 101 * MS, 102 * MS)]
    assert offset_of("w", readings) == ClockOffset("w", 10**9, MS)


def test_a_clock_that_is_not_known_well_enough_is_refused() -> None:
    """A round trip of 12 ms leaves 6 ms of doubt, and a drift of 8 ms over the run more: both are LoadErrors."""
    assert bounded(ClockOffset("w", 0, 4 * MS)).error_ns == 4 * MS
    with pytest.raises(LoadError, match=r"generator w is known only to 6\.0 ms \(limit 5 ms\)"):
        bounded(ClockOffset("w", 0, 6 * MS))
    assert bounded(ClockOffset("w", 0, MS), ClockOffset("w", 2 * MS, MS)) == ClockOffset("w", 0, 3 * MS)
    with pytest.raises(LoadError, match=r"ran steadily only to 9\.0 ms"):
        bounded(ClockOffset("w", 0, MS), ClockOffset("w", 8 * MS, MS))


def test_a_token_is_in_no_repr() -> None:
    """pytest --showlocals prints the locals of a failure: neither the work nor a job shows what the headers hold."""
    work = _work(headers={"Authorization": "Bearer s3cret"})
    assert "s3cret" not in repr(work) + repr(split(work, 2))
