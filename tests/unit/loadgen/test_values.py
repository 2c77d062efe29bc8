"""Payloads, the recorder, messages and Server-Timing: what goes in comes out."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.loadgen.messages import Message, receive, send
from pytest_inferbench.loadgen.payloads import Bodies, ContentKind, serialize
from pytest_inferbench.loadgen.recorder import MAX_METRICS, Answer, Recorder
from pytest_inferbench.loadgen.server_timing import parse_server_timing
from pytest_inferbench.runs.run import Failure


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("infer;dur=12.5", {"infer": 12.5}),
        ("queue;dur=1, tokenize;dur=2.25,infer;dur=3", {"queue": 1, "tokenize": 2.25, "infer": 3}),
        ('batch;desc="8"', {"batch": 8}),
        ("batch;desc=8", {"batch": 8}),
        ('db;desc="a, b; c=\\"d\\"";dur=4', {"db": 4}),
        ("  cache ; DUR = 1e2 ;desc=hit ", {"cache": 100}),
        ("db;dur=1, db;dur=2", {"db": 3}),
        ("db;dur=1;dur=9", {"db": 1}),
        ("miss, cpu;dur=1", {"cpu": 1}),
        ("db;dur=fast, cpu;dur=1", {"cpu": 1}),
        ("=;dur=1, (broken), cpu;dur=2", {"cpu": 2}),
        ('db;desc="never closed, cpu;dur=2', {}),
        ("db;;dur=3;", {"db": 3}),
        ("", {}),
        (",,,", {}),
    ],
)
def test_server_timing_is_read_as_the_standard_has_it(header, expected):
    """Durations in milliseconds, else numeric descriptions; what is garbled costs only itself."""
    assert parse_server_timing(header) == expected


def test_a_long_garbled_header_is_read_in_linear_time():
    """A hostile header ends: no catastrophic backtracking (this test would not return)."""
    parse_server_timing("a" + ";a" * 20_000 + "\\")
    parse_server_timing('a;desc="' + "\\\\" * 20_000)
    parse_server_timing("a;" + " " * 20_000 + "!\x00")


def test_equal_bodies_are_kept_once():
    """A million equal payloads cost one body; the index says who sends what; kinds are told apart."""
    bodies = serialize([{"a": 1}, "x", {"a": 1}, b"x", None, [], "x"])
    assert bodies.index.tolist() == [0, 1, 0, 2, 3, 4, 1]
    assert bodies.distinct() == [b'{"a":1}', b"x", b"x", b"", b"[]"]
    kinds = [ContentKind.JSON, ContentKind.TEXT, ContentKind.BYTES, ContentKind.NONE, ContentKind.JSON]
    assert bodies.kinds.tolist() == kinds


def test_a_request_costs_few_bytes():
    """Everything kept per request, worker and result together, stays under 200 bytes with four timing metrics."""
    n = 1000
    recorder = Recorder(n)
    for i in range(n):
        recorder.issue(i, i)
        recorder.finish(i, Answer(i, 200, Failure.NONE, "queue;dur=1,tokenize;dur=1,infer;dur=1,batch;desc=1"))
    kept = [
        recorder.issued_ns,
        recorder.completed_ns,
        recorder.status,
        recorder.failure,
        *recorder.server_timing.values(),
    ]
    offsets, scheduled = 8, 8
    assert offsets + scheduled + sum(a.itemsize for a in kept) + serialize([None]).index.itemsize <= 100


def test_what_is_told_of_a_run_under_way():
    """Of the issued requests: answered ones count with their latency, waiting ones with their age, none before any."""
    recorder = Recorder(6)
    due = np.array([0, 10, 20, 30, 40, 50], np.int64)
    assert recorder.recent_figures(due, 0) == {}
    for i, (issued, completed) in enumerate([(0, 4), (12, 15), (20, None), (31, 39), (40, None)]):
        recorder.issue(i, issued)
        if completed is not None:
            recorder.finish(i, Answer(completed, 200, Failure.NONE))
    assert recorder.recent_figures(due, 100) == {"p50_ns": 9, "p95_ns": 80, "delay_ns": 2}


def test_the_latest_thousand_requests_are_told_of():
    """What lies further back does not hide what goes on now."""
    recorder, due = Recorder(3000), np.arange(3000, dtype=np.int64)
    for i in range(3000):
        recorder.issue(i, i)
        recorder.finish(i, Answer(i + (7 if i >= 2000 else 99), 200, Failure.NONE))
    assert recorder.recent_figures(due, 5000) == {"p50_ns": 7, "p95_ns": 7, "delay_ns": 0}


@pytest.mark.parametrize(
    "payload", [3, 1.5, object(), {"a": math.nan}, {"a": {1}}, [b"x"], ("a",), "\ud800", {"a": "\ud800"}]
)
def test_what_cannot_be_sent_is_refused_by_position(payload):
    """The message names which payload cannot be sent."""
    with pytest.raises(ValidationError, match="payload 2 "):
        serialize([None, "fine", payload])


def test_the_digest_identifies_the_sequence():
    """Equal sequences have equal digests; any difference in body, order, kind, number or method shows."""
    base = serialize(["a", "b"]).digest("POST")
    assert base == serialize(["a", "b"]).digest("POST")
    others = [["b", "a"], ["a"], ["a", "b", "b"], ["ab", ""], [b"a", b"b"], ["a", "c"]]
    digests = {base, serialize(["a", "b"]).digest("PUT"), *(serialize(o).digest("POST") for o in others)}
    assert len(digests) == 8


def test_messages_survive_the_wire():
    """Facts and arrays arrive as they were sent, one message after another, and bodies can be rebuilt from them."""
    stream = io.BytesIO()
    bodies = serialize(["grün", None, [1]])
    send(stream, Message("progress", {"issued": 3}))
    send(stream, Message("job", {"target": {"url": "é"}}, {**bodies.arrays, "empty": np.empty(0, np.int64)}))
    stream.seek(0)
    first, second = receive(stream), receive(stream)
    assert (first.kind, first.facts, first.arrays) == ("progress", {"issued": 3}, {})
    assert second.facts == {"target": {"url": "é"}}
    assert Bodies.of(second.arrays).distinct() == bodies.distinct()
    assert Bodies.of(second.arrays).digest("POST") == bodies.digest("POST")
    assert second.arrays["empty"].dtype == np.int64


def test_a_torn_message_is_not_a_message():
    """A stream that ends early, anywhere, raises EOFError; one that is something else raises ValueError."""
    stream = io.BytesIO()
    send(stream, Message("run", {"a": 1}, {"x": np.arange(3)}))
    whole = stream.getvalue()
    for end in range(len(whole)):
        with pytest.raises(EOFError):
            receive(io.BytesIO(whole[:end]))
    with pytest.raises(ValueError, match="not a message"):
        receive(io.BytesIO(b"Traceback (most recent call last)"))


def test_a_record_starts_with_nothing_done():
    """Until something happens, every request is unissued, with no instant and status 0."""
    recorder = Recorder(3)
    recorder.issue(1, 7)
    assert recorder.failure.tolist() == [Failure.UNISSUED, Failure.UNFINISHED, Failure.UNISSUED]
    assert recorder.issued_ns.tolist() == [-1, 7, -1]
    assert recorder.completed_ns.tolist() == [-1, -1, -1]
    recorder.finish(1, Answer(9, 503, Failure.STATUS, "queue;dur=2"))
    assert (recorder.count_issued, recorder.count_completed, recorder.count_failed) == (1, 1, 1)
    assert recorder.server_timing["queue"].tolist()[1] == 2
    assert np.isnan(recorder.server_timing["queue"][[0, 2]]).all()


def test_invented_metric_names_do_not_exhaust_memory():
    """A service that names a new metric per request fills a bounded number of columns."""
    recorder = Recorder(100)
    for i in range(100):
        recorder.issue(i, i)
        recorder.finish(i, Answer(i, 200, Failure.NONE, f"metric{i};dur=1"))
    assert len(recorder.server_timing) == MAX_METRICS
