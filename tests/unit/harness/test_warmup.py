"""Warm-up: goes on while the service gets faster, is bounded, reaches every worker, explains one that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import httpx
import numpy as np
import pytest

from pytest_inferbench.config.warmup_plan import WarmUpPlan
from pytest_inferbench.deployment import Deployment
from pytest_inferbench.deployment.connections import ConnectedWorkers
from pytest_inferbench.errors import DeploymentError
from pytest_inferbench.events import Event, WarmingUp
from pytest_inferbench.harness import warmup
from pytest_inferbench.harness.warmup import warm_up
from pytest_inferbench.loadgen import LoadGenerator, Target
from pytest_inferbench.runs.run import Failure, Run

BODIES = [f"text {number}" for number in range(40)]
#: Blocks of 24 requests, where these take 42 ms or longer.
PLAN = WarmUpPlan()


class Service:
    """A deployment that runs, and has a log."""

    alive = True
    url = "http://127.0.0.1:1"

    def __init__(self, workers: int = 1) -> None:
        self.worker_count = workers

    def log_tail(self) -> str:
        return "loading the model\nValueError: no such layer"


class Generator:
    """Serves one request at a time on a clock of its own: request k takes ``seconds(k)``, or fails for that reason."""

    def __init__(self, answer: Callable[[int], float | Failure], *, status: int = 0, timeout: float = 60) -> None:
        self.target = Target("http://user:secret@127.0.0.1:1/classify", headers={"X-Key": "k"}, timeout=timeout)
        self.rounds: list[tuple[list[object], int, float | None]] = []
        self.now_ns = 10**9
        self.served = self.fresh = 0
        self._answer = answer
        self._status = status

    def without_keep_alive(self) -> Generator:
        self.fresh += 1
        return self

    async def issue_closed(self, payloads: Sequence[object], *, concurrency: int, limit: float | None = None) -> Run:
        n, start = len(payloads), self.now_ns
        issued, completed = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
        failure = np.full(n, Failure.UNISSUED, np.uint8)
        users = [start] * concurrency
        for i in range(n):
            user = users.index(min(users))
            if limit is not None and users[user] - start > limit * 1e9:
                break
            answer = self._answer(self.served)
            self.served += 1
            failed = isinstance(answer, Failure)
            takes = self.target.timeout if answer is Failure.TIMEOUT else 0.001 if failed else answer
            self.now_ns = (users[user] if failed else max(users[user], self.now_ns)) + round(takes * 1e9)
            issued[i], completed[i], failure[i] = users[user], self.now_ns, answer if failed else Failure.NONE
            users[user] = self.now_ns
        self.now_ns = max(users)
        self.rounds.append((list(payloads[: int((issued >= 0).sum())]), concurrency, limit))
        status = np.where(failure == Failure.NONE, 200, np.where(failure == Failure.STATUS, self._status, 0))
        return Run(issued, issued, completed, status, failure, closed_loop=True)


async def warm(
    generator: Generator, bodies: Sequence[object] = BODIES, plan: WarmUpPlan = PLAN, workers: int = 1
) -> tuple[Any, list[Event]]:
    told: list[Event] = []
    findings = await warm_up(
        cast("LoadGenerator", generator),
        bodies,
        cast("Deployment", Service(workers)),
        told.append,
        plan,
        clock=lambda: generator.now_ns,
    )
    return findings, told


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[httpx.Request], httpx.Response]], None]:
    """Let the one request that is made for the message be answered by a function, without any socket."""

    def use(handler: Callable[[httpx.Request], httpx.Response]) -> None:
        client = partial(httpx.AsyncClient, transport=httpx.MockTransport(handler))
        monkeypatch.setattr(warmup.httpx, "AsyncClient", client)

    return use


def refusing(generator: Generator, answering: Callable[..., None]) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    answering(refuse)


@pytest.mark.asyncio
async def test_a_steady_service_is_warm_after_two_blocks() -> None:
    """Two requests one by one, sixteen by eight users, and two blocks of 24; the observer hears how many were sent."""
    generator = Generator(lambda k: 0.1)
    assert await warm(generator) == ((), [WarmingUp(requests=sent) for sent in (2, 18, 42, 66)])
    assert [concurrency for _, concurrency, _ in generator.rounds] == [1, 8, 1, 1]


@pytest.mark.asyncio
async def test_every_block_holds_the_same_payloads() -> None:
    """Only the service can make a later block faster: each sends the same ones in the same order; few are repeated."""
    generator = Generator(lambda k: 0.1)
    await warm(generator)
    assert [sent for sent, _, _ in generator.rounds[2:]] == [BODIES[:24]] * 2
    generator = Generator(lambda k: 0.1)
    await warm(generator, ["only one"])
    assert [sent for sent, _, _ in generator.rounds[2:]] == [["only one"] * 24] * 2


@pytest.mark.asyncio
async def test_payloads_of_very_different_cost_are_no_trend() -> None:
    """A block that begins with dear payloads and ends with cheap ones is compared with the same ones again."""
    generator = Generator(lambda k: 0.1)
    costs = {f"text {number}": 2.0 / (number + 1) for number in range(40)}
    issue = generator.issue_closed

    async def issue_closed(payloads: Sequence[object], *, concurrency: int, limit: float | None = None) -> Run:
        bodies = iter(payloads)
        generator._answer = lambda k: costs[str(next(bodies))]
        return await issue(payloads, concurrency=concurrency, limit=limit)

    generator.issue_closed = issue_closed  # type: ignore[method-assign]
    findings, told = await warm(generator)
    assert (findings, len(told)) == ((), 4)


@pytest.mark.asyncio
async def test_a_worker_gets_as_many_requests_however_many_workers_there_are() -> None:
    """Four workers: four times the requests and the users in every part."""
    generator = Generator(lambda k: 0.01)
    await warm(generator, workers=4)
    assert [(len(sent), concurrency) for sent, concurrency, _ in generator.rounds[:2]] == [(8, 4), (64, 32)]
    assert [(len(sent), concurrency) for sent, concurrency, _ in generator.rounds[2:]] == [(100, 4)] * 2


@pytest.mark.asyncio
async def test_blocks_reach_several_workers_by_a_connection_per_request() -> None:
    """With one worker connections stay open as in the run; with more, each request of the two blocks opens one."""
    generator = Generator(lambda k: 0.1)
    await warm(generator)
    assert generator.fresh == 0
    await warm(generator, workers=2)
    assert generator.fresh == 2


@pytest.mark.asyncio
async def test_it_goes_on_while_the_service_gets_faster() -> None:
    """A service whose first 60 requests take twice as long gets two more blocks, and no finding."""
    generator = Generator(lambda k: 0.2 if k < 60 else 0.1)
    findings, told = await warm(generator)
    assert findings == ()
    assert told[-1] == WarmingUp(requests=114)


@pytest.mark.asyncio
async def test_one_slow_answer_or_a_service_that_slows_down_is_no_warming_up() -> None:
    """A pause in the earlier block is one request, not a trend; and what gets slower is not getting warm."""
    for answer in (lambda k: 5.0 if k == 30 else 0.1, lambda k: 0.1 + 0.001 * k):
        findings, told = await warm(Generator(answer))
        assert (findings, len(told)) == ((), 4)


@pytest.mark.asyncio
async def test_short_requests_make_longer_blocks() -> None:
    """Where a request takes 20 ms a block has 50 of them, a second; where it takes 1 ms, at most four times 24."""
    for seconds, block in ((0.02, 50), (0.001, 96)):
        generator = Generator(lambda k, seconds=seconds: seconds)  # type: ignore[misc]
        await warm(generator)
        assert [len(sent) for sent, _, _ in generator.rounds[2:]] == [block] * 2


@pytest.mark.asyncio
async def test_a_service_that_never_settles_is_a_finding() -> None:
    """If it still gets faster after ten blocks the measurement is void: rule, value, limit and what to do."""
    (finding,), told = await warm(Generator(lambda k: 0.1 * 0.99**k))
    assert (finding.rule, finding.kind) == ("warm-up", "invalid")
    assert told[-1].requests > 200  # type: ignore[union-attr]
    assert "the service still got faster: the last " in finding.message
    assert finding.value > 0.5 > finding.limit == pytest.approx(1 / 6)
    assert "warmup = {" in finding.recommendation


@pytest.mark.asyncio
async def test_the_time_ends_it_and_what_is_beyond_doubt_by_then_is_a_finding() -> None:
    """Requests of a second that get 2 % faster each: void when 30 s are over."""
    generator = Generator(lambda k: 1.0 * 0.98**k)
    (finding,), _ = await warm(generator)
    assert 25e9 < generator.now_ns < 34e9
    assert finding.kind == "invalid"


@pytest.mark.asyncio
async def test_a_slow_model_does_not_pay_for_minutes() -> None:
    """Five seconds a request: 30 s after the first answer it is over, without a finding from so few."""
    generator = Generator(lambda k: 5.0)
    findings, told = await warm(generator)
    assert findings == ()
    assert (generator.now_ns - 10**9) / 1e9 == 30
    assert told[-1] == WarmingUp(requests=6)


@pytest.mark.asyncio
async def test_each_worker_gets_four_requests_whatever_they_take() -> None:
    """Forty seconds a request and a timeout of 60: four requests, never two at once, and that is all."""
    generator = Generator(lambda k: 40.0)
    await warm(generator)
    assert [(len(sent), concurrency) for sent, concurrency, _ in generator.rounds] == [(2, 1), (2, 1)]


@pytest.mark.asyncio
async def test_a_first_request_that_compiles_for_long_takes_nothing_from_the_rest() -> None:
    """The time counts from the first answer, and how long requests take is that of the faster one."""
    generator = Generator(lambda k: 50.0 if k == 0 else 0.1)
    assert await warm(generator) == ((), [WarmingUp(requests=sent) for sent in (2, 18, 42, 66)])


@pytest.mark.asyncio
async def test_the_plan_says_how_much_and_whether_at_all() -> None:
    """Eight requests are two, two together and two blocks of three; off sends nothing."""
    generator = Generator(lambda k: 1.0)
    await warm(generator, plan=WarmUpPlan(requests=8))
    assert [len(sent) for sent, _, _ in generator.rounds] == [2, 2, 3, 3]
    generator = Generator(lambda k: 1.0)
    assert await warm(generator, plan=WarmUpPlan(requests=0)) == ((), [])
    generator = Generator(lambda k: 1.0)
    await warm(generator, plan=WarmUpPlan(duration=5))
    assert (generator.now_ns - 10**9) / 1e9 <= 7


@pytest.mark.asyncio
async def test_failures_while_it_starts_are_waited_out() -> None:
    """A service that refuses its first ten requests is warmed up all the same."""
    findings, _ = await warm(Generator(lambda k: Failure.STATUS if k < 10 else 0.1, status=503))
    assert findings == ()


@pytest.mark.asyncio
async def test_a_service_that_keeps_failing_now_and_then_is_a_finding_in_words() -> None:
    """Where no request succeeded in two blocks there is no change to speak of, and no "nan%" either."""
    (finding,), _ = await warm(Generator(lambda k: Failure.RESET if k >= 18 and (k - 18) // 24 % 2 == k % 2 else 0.1))
    assert finding.kind == "invalid"
    assert "nan" not in finding.message
    assert "none succeeded twice" in finding.message


@pytest.mark.asyncio
@pytest.mark.parametrize(("good", "limit"), [(0, 60), (1, 60), (30, 5)])
async def test_a_service_that_hangs_ends_the_warm_up(
    good: int, limit: float, answering: Callable[[Callable[[httpx.Request], httpx.Response]], None]
) -> None:
    """Whenever it stops answering: an error with the timeout and the log after a few timeouts, not after hundreds."""
    generator = Generator(lambda k: 0.1 if k < good else Failure.TIMEOUT, timeout=limit)
    refusing(generator, answering)
    with pytest.raises(DeploymentError) as caught:
        await warm(generator)
    assert generator.served <= good + 10
    assert "x timeout" in str(caught.value) or "3 of 33 requests" in str(caught.value)
    assert "  | ValueError: no such layer" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.asyncio
@pytest.mark.parametrize("after", [1, 100])
async def test_workers_without_a_connection_are_tried_again_and_then_named(
    after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as one of two workers had no connection, more are opened for a while; if it never has, it is said."""
    generator = Generator(lambda k: 0.1)
    work = warmup._WarmUp(
        cast("LoadGenerator", generator),
        BODIES,
        cast("Deployment", Service(2)),
        lambda event: None,
        PLAN,
        lambda: generator.now_ns,
    )
    await work.first_answers()
    connected = ConnectedWorkers(2)
    monkeypatch.setattr(ConnectedWorkers, "expected", property(lambda self: 2))
    monkeypatch.setattr(ConnectedWorkers, "complete", property(lambda self: len(generator.rounds) > after))
    findings = await work.reach(connected)
    if after == 1:
        assert (findings, len(generator.rounds)) == ((), 2)
        return
    (finding,) = findings
    assert len(generator.rounds) == 6
    assert (finding.rule, finding.kind, finding.value, finding.limit) == ("workers-unseen", "service", 0, 2)
    assert "0 of 2 workers took a connection" in finding.message


@pytest.mark.asyncio
async def test_a_service_that_answers_nothing_well_is_an_error_with_its_own_words(
    answering: Callable[[Callable[[httpx.Request], httpx.Response]], None],
) -> None:
    """The message has the URL, causes, statuses, one answer, the log and what to check, but no password."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(422, text="field 'text' is missing " + "x" * 1000)

    answering(answer)
    with pytest.raises(DeploymentError) as caught:
        await warm(Generator(lambda k: Failure.STATUS, status=422))
    message = str(caught.value)
    for part in (
        "the first 24 requests to http://***@127.0.0.1:1/classify failed (24 x status; HTTP status 422)",
        "asked once more, it answered 422: \"field 'text' is missing xxx",
        "check `path` in [tool.inferbench]",
        "  | ValueError: no such layer",
    ):
        assert part in message
    assert "secret" not in message
    assert len(message) < 1500
    (request,) = asked
    assert (request.method, request.headers["x-key"], request.content) == ("POST", "k", b"text 0")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("payload", "content"), [({"text": "a"}, b'{"text":"a"}'), (b"raw", b"raw"), ("text", b"text"), (None, b"")]
)
async def test_it_asks_once_more_what_it_asked_before(
    answering: Callable[[Callable[[httpx.Request], httpx.Response]], None], payload: object, content: bytes
) -> None:
    """The request for the message has the body that the load had: a dict as JSON, text and bytes as they are."""
    asked: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        return httpx.Response(500)

    answering(answer)
    with pytest.raises(DeploymentError):
        await warm(Generator(lambda k: Failure.STATUS, status=500), [payload])
    assert [body.replace(b'": "', b'":"') for body in asked] == [content]


@pytest.mark.asyncio
async def test_a_service_that_no_longer_answers_at_all_is_the_same_error(
    answering: Callable[[Callable[[httpx.Request], httpx.Response]], None],
) -> None:
    """A refused connection while asking once more adds nothing to the message, and is no error of its own."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    answering(refuse)
    with pytest.raises(DeploymentError, match="24 x reset; HTTP status none") as caught:
        await warm(Generator(lambda k: Failure.RESET))
    assert "asked once more" not in str(caught.value)
