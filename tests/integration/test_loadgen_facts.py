"""What a run reports is what happened on the wire."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pytest_inferbench.errors import LoadError, ValidationError
from pytest_inferbench.events import Progress
from pytest_inferbench.loadgen import LoadGenerator, ResponseCheck, Target
from pytest_inferbench.runs.run import Failure, Run
from pytest_inferbench.workload.arrivals import Constant, Poisson, Replay

MS = 1_000_000


def issue(target: Target, payloads: list[object], *, rate: float = 100.0, **options: float) -> Run:
    schedule = Replay([i / rate for i in range(len(payloads))]).schedule()
    return asyncio.run(LoadGenerator(target, **options).issue(schedule, payloads))


def test_known_delays_are_recovered(server):
    """Latencies are the server's known delays: never below, matched request by request, and within what passed here."""
    delays = [20, 150, 300] * 15
    began_ns = time.monotonic_ns()
    run = issue(Target(f"{server.url}/delay"), [str(d) for d in delays])
    ended_ns = time.monotonic_ns()
    assert run.error_rate == 0
    latency = run.latency_ns / MS
    # The server's own clock reading, sent along, allows for the lateness of its timer.
    assert np.all(latency >= run.server_timing["app"] - 0.01)
    assert np.all(run.server_timing["batch"] == 8)
    assert run.server_timing["asked"].tolist() == delays
    # Both ends of every latency lie on this machine's clock, between what we read of it before and after.
    assert began_ns < run.scheduled_ns.min()
    assert run.completed_ns.max() < ended_ns


def test_facts_are_consistent_with_one_another(server):
    """Each request is scheduled, then issued, then completed, and the run carries the schedule's identity."""
    schedule = Poisson(200).schedule(1.0, seed=7)
    run = asyncio.run(LoadGenerator(Target(f"{server.url}/ok")).issue(schedule, [None] * len(schedule)))
    assert np.array_equal(np.diff(run.scheduled_ns), np.diff(schedule.offsets_ns))
    assert np.all(run.issue_delay_ns >= 0)
    assert np.all(run.service_time_ns > 0)
    assert (run.seed, run.digest, run.closed_loop) == (7, schedule.digest, False)
    assert set(run.status.tolist()) == {200}
    assert run.server_timing == {}


def test_a_stall_of_the_server_shows_in_every_request_that_was_due_meanwhile(server):
    """No coordinated omission: requests due during a 600 ms stall waited for its end; a closed loop sees only one.

    A busy machine may add a few stalls of its own, and never takes one away.
    """
    schedule = Constant(100).schedule(1.5)
    payloads: list[object] = [None] * len(schedule)
    payloads[30] = "600"
    generator = LoadGenerator(Target(f"{server.url}/stall"))
    opened = asyncio.run(generator.issue(schedule, payloads))
    closed = asyncio.run(generator.issue_closed(payloads))
    # Due 0 to 600 ms after its begin, hence waiting 600 to 0 ms: some 50 of them for more than 100 ms.
    assert int((opened.latency_ns > 100 * MS).sum()) >= 45
    assert np.quantile(opened.latency_ns, 0.95) > 300 * MS
    assert closed.closed_loop
    assert 1 <= int((closed.latency_ns > 550 * MS).sum()) <= 5
    assert int((closed.latency_ns > 100 * MS).sum()) < int((opened.latency_ns > 100 * MS).sum()) / 2
    assert opened.error_rate == closed.error_rate == 0


@pytest.mark.parametrize(
    ("path", "failure", "status"),
    [
        ("/reset", Failure.RESET, 0),
        ("/close", Failure.RESET, 0),
        ("/hang", Failure.TIMEOUT, 0),
        ("/half", Failure.TIMEOUT, 0),
        ("/truncated", Failure.TRUNCATED, 0),
        ("/garbage", Failure.TRUNCATED, 0),
        ("/status/503", Failure.STATUS, 503),
        ("/status/404", Failure.STATUS, 404),
        ("/status/302", Failure.NONE, 302),
        ("/ok", Failure.NONE, 200),
    ],
)
def test_ways_to_fail_are_told_apart(server, path, failure, status):
    """Each misbehaviour of the server gets its own kind of failure and is counted, none is dropped or repeated."""
    timeout = 1.5 if failure is Failure.TIMEOUT else 60.0
    run = issue(Target(server.url + path, timeout=timeout), [{"text": "x"}] * 5)
    assert [Failure(f).name for f in run.failure] == [failure.name] * 5
    assert run.status.tolist() == [status] * 5
    assert np.all(run.completed_ns >= run.issued_ns)
    assert len(server.requests) == 5


def test_a_refused_connection_is_its_own_kind_of_failure():
    """Nothing listens: every request fails with CONNECT."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    run = issue(Target(f"http://127.0.0.1:{port}/"), [None] * 3)
    assert run.count(Failure.CONNECT) == 3
    assert np.isinf(run.latencies).all()


def test_running_out_of_descriptors_is_not_the_service_s_fault(server):
    """Where the generator may open no more connections, those requests fail as LOCAL, the others are answered."""
    n = 60
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    target = Target(f"{server.url}/delay", check=ResponseCheck(function=f"{__name__}:few_descriptors"))
    schedule = Replay([0.0] + [0.5] * n).schedule()
    run = asyncio.run(LoadGenerator(target).issue(schedule, ["1"] + ["2000"] * n))
    assert run.count(Failure.LOCAL) > 0
    assert run.count(Failure.LOCAL) + run.count(Failure.NONE) == n + 1
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == hard


def few_descriptors(status: int, body: bytes) -> bool:
    """A response check that lets the process it runs in open only a few more descriptors."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return True


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_broken_reused_connection_is_not_papered_over(server, method):
    """A reset on a reused connection is reported even for GET, which clients like to repeat in silence."""
    run = asyncio.run(LoadGenerator(Target(f"{server.url}/reset-second", method=method)).issue_closed([None] * 4))
    assert [Failure(f).name for f in run.failure] == ["NONE", "RESET", "NONE", "RESET"]
    assert len(server.requests) == 4


def test_what_is_unfinished_when_the_drain_ends_is_counted(server):
    """Leftovers of the drain are UNFINISHED with status 0 and no completion, beside those that made it."""
    run = issue(Target(f"{server.url}/delay"), ["1", "60000", "1", "60000"], drain_timeout=3)
    assert [Failure(f).name for f in run.failure] == ["NONE", "UNFINISHED", "NONE", "UNFINISHED"]
    assert run.completed_ns.tolist()[1::2] == [-1, -1]
    assert run.status.tolist() == [200, 0, 200, 0]
    assert np.all(run.issued_ns > 0)


def test_payload_kinds_and_headers_reach_the_wire(server):
    """dict and list go as JSON, str as UTF-8 text, bytes raw, None without a body; the target's headers win."""
    payloads: list[object] = [{"a": "é"}, [1, 2], "grün", b"\x00\xff", None]
    issue(Target(f"{server.url}/ok", headers={"Authorization": "Bearer s3cret"}), payloads, rate=20)
    seen = server.requests
    bodies = [r["body"].encode("latin-1") for r in seen]
    assert [json.loads(b) for b in bodies[:2]] == [{"a": "é"}, [1, 2]]
    assert bodies[2:] == ["grün".encode(), b"\x00\xff", b""]
    assert [r["headers"].get("content-type") for r in seen] == [
        "application/json", "application/json", "text/plain; charset=utf-8", "application/octet-stream", None,
    ]  # fmt: skip
    assert all(r["headers"]["authorization"] == "Bearer s3cret" for r in seen)
    assert all(r["method"] == "POST" for r in seen)
    server.get("/reset-stats")
    issue(Target(f"{server.url}/ok", method="PUT", headers={"content-type": "text/csv"}), ["a,b"])
    assert (server.requests[0]["method"], server.requests[0]["headers"]["content-type"]) == ("PUT", "text/csv")


def test_connections_are_reused_or_not_as_asked(server):
    """keep_alive reuses one connection for requests in sequence; without it each has its own."""
    asyncio.run(LoadGenerator(Target(f"{server.url}/ok")).issue_closed([None] * 10))
    assert server.connections == 1
    server.get("/reset-stats")
    asyncio.run(LoadGenerator(Target(f"{server.url}/ok", keep_alive=False)).issue_closed([None] * 10))
    assert server.connections == 10
    assert server.requests[0]["headers"]["connection"] == "close"


def test_waiting_for_a_connection_is_service_time(server):
    """With one connection, simultaneous requests queue for it: issued on time, each served after the one before."""
    target = Target(f"{server.url}/delay", max_connections=1)
    run = asyncio.run(LoadGenerator(target).issue(Replay([0.0] * 4).schedule(), ["1000"] * 4))
    assert server.connections == 1
    assert run.issued_ns.max() < run.completed_ns.min()
    assert np.sort(run.service_time_ns)[-1] >= 4 * 999 * MS


def test_many_requests_in_flight_at_once(server):
    """A thousand requests that are answered when all are waiting are answered: the descriptor limit is not met."""
    n = 1000
    run = asyncio.run(LoadGenerator(Target(f"{server.url}/together")).issue(Replay([0.0] * n).schedule(), [str(n)] * n))
    assert run.error_rate == 0
    assert run.issued_ns.max() < run.completed_ns.min()


def test_response_check_turns_wrong_answers_into_failures(server, tmp_path, monkeypatch):
    """A status, a text or a function decides what a good answer is; the function is found on the caller's path."""
    checks = {
        "/ok": [
            (ResponseCheck(contains="ok"), Failure.NONE),
            (ResponseCheck(contains="positive"), Failure.CHECK),
            (ResponseCheck(statuses=(201,)), Failure.CHECK),
            (ResponseCheck(function="answer_check:is_good"), Failure.NONE),
            (ResponseCheck(function="answer_check:is_bad"), Failure.CHECK),
        ],
        "/status/404": [(ResponseCheck(statuses=(404,)), Failure.NONE), (ResponseCheck(), Failure.STATUS)],
    }
    code = """
def is_good(status, body):
    print("a check may print")
    return body == b"ok"

def is_bad(status, body):
    return False
"""
    (tmp_path / "answer_check.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    for path, cases in checks.items():
        for check, expected in cases:
            assert Failure(issue(Target(server.url + path, check=check), [None]).failure[0]) is expected, check


def test_a_check_that_cannot_be_imported_is_named(server):
    """A response check that does not exist is a LoadError that says which and why."""
    with pytest.raises(LoadError, match=r"nowhere:at_all.*No module named 'nowhere'"):
        issue(Target(f"{server.url}/ok", check=ResponseCheck(function="nowhere:at_all")), [None])


def test_proxy_variables_are_ignored(server, monkeypatch):
    """A proxy that nobody answers at does not matter to a loopback target."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert issue(Target(f"{server.url}/ok"), [None]).error_rate == 0


def test_tls_is_checked_unless_told_otherwise(tls_server, certificate: Path):
    """An unknown certificate fails the connection; its CA or insecure=True makes it work."""
    url = f"{tls_server.url}/ok"
    assert issue(Target(url), [None]).count(Failure.CONNECT) == 1
    assert issue(Target(url, ca_file=str(certificate)), [None]).error_rate == 0
    assert issue(Target(url, insecure=True), [None]).error_rate == 0


def test_progress_begins_at_the_start_and_grows(server):
    """The first report comes with the clock's start; counts never shrink; the total is the schedule's length."""
    seen: list[Progress] = []
    schedule = Constant(50).schedule(1.0)
    generator = LoadGenerator(Target(f"{server.url}/ok"), on_progress=seen.append)
    asyncio.run(generator.issue(schedule, [None] * len(schedule)))
    assert len(seen) >= 2
    assert (seen[0].scheduled, seen[0].total) == (len(schedule), schedule.offsets_ns[-1] / 1e9)
    assert seen[0].issued <= seen[-1].issued <= len(schedule)
    assert all(a.elapsed < b.elapsed and a.completed <= b.completed for a, b in pairwise(seen))
    assert all(p.failed == 0 and p.completed <= p.issued for p in seen)


def test_an_empty_schedule_is_an_empty_run():
    """No requests: an empty run, and no process."""
    run = asyncio.run(LoadGenerator(Target("http://127.0.0.1:9/")).issue(Constant(1).schedule(0.5), []))
    assert len(run) == 0
    assert np.isnan(run.error_rate)


def test_payloads_must_match_the_schedule():
    """A wrong number of payloads is refused with both numbers, before anything is sent."""
    generator = LoadGenerator(Target("http://127.0.0.1:9/"))
    with pytest.raises(ValidationError, match="2 requests but there are 3 payloads"):
        asyncio.run(generator.issue(Replay([0, 0]).schedule(), ["1", "2", "3"]))


def test_the_payload_digest_identifies_what_was_sent(server):
    """The same bodies in the same order have the same digest; another order, body, kind or method has not."""

    def digest(payloads: list[object], method: str = "POST") -> str:
        return issue(Target(f"{server.url}/ok", method=method), payloads).payload_digest

    first = digest([{"a": 1}, "b"])
    assert first == digest([{"a": 1}, "b"])
    others = [
        digest(["b", {"a": 1}]),
        digest([{"a": 2}, "b"]),
        digest(['{"a":1}', "b"]),
        digest([{"a": 1}, "b"], "PUT"),
    ]
    assert len({first, *others}) == 5
