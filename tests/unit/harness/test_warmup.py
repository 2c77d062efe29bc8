"""Warm-up: goes on until the pace is steady, gives up in the end, and explains a service that answers nothing well."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import httpx
import numpy as np
import pytest

from pytest_inferbench.deployment import Deployment
from pytest_inferbench.errors import DeploymentError
from pytest_inferbench.events import Event, WarmingUp
from pytest_inferbench.harness import warmup
from pytest_inferbench.harness.warmup import warm_up
from pytest_inferbench.loadgen import LoadGenerator, Target
from pytest_inferbench.runs.run import Failure, Run

BODIES = [f"text {number}" for number in range(20)]


class Service:
    """A deployment that runs, and has a log."""

    alive = True

    def log_tail(self) -> str:
        return "loading the model\nValueError: no such layer"


class Generator:
    """Answers each round of requests as the script says: seconds per block of eight, None for one that failed."""

    def __init__(self, *rounds: Sequence[float | None], status: int = 200) -> None:
        self.target = Target("http://user:secret@127.0.0.1:1/classify", headers={"X-Key": "k"})
        self.sent: list[list[object]] = []
        self._rounds: Iterator[Sequence[float | None]] = iter(rounds)
        self._status = status

    async def issue_closed(self, payloads: Sequence[object], *, concurrency: int) -> Run:
        assert concurrency == 1, "one after the other"
        self.sent.append(list(payloads))
        seconds = np.repeat([math.nan if s is None else s for s in next(self._rounds)], 8)
        failed = np.isnan(seconds)
        at = np.arange(seconds.size, dtype=np.int64) * 10**9
        return Run(
            scheduled_ns=at,
            issued_ns=at,
            completed_ns=at + np.where(failed, 1, np.nan_to_num(seconds) * 1e9).astype(np.int64),
            status=np.where(failed, self._status if self._status != 200 else 0, 200),
            failure=np.where(failed, Failure.RESET if self._status == 200 else Failure.STATUS, Failure.NONE),
        )


async def warm(generator: Generator, bodies: Sequence[object] = BODIES) -> tuple[Any, list[Event]]:
    told: list[Event] = []
    findings = await warm_up(
        cast("LoadGenerator", generator), bodies, cast("Deployment", Service()), lambda event: told.append(event)
    )
    return findings, told


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[httpx.Request], httpx.Response]], None]:
    """Let the one request that is made for the message be answered by a function, without any socket."""

    def use(handler: Callable[[httpx.Request], httpx.Response]) -> None:
        client = partial(httpx.AsyncClient, transport=httpx.MockTransport(handler))
        monkeypatch.setattr(warmup.httpx, "AsyncClient", client)

    return use


@pytest.mark.asyncio
async def test_a_steady_service_is_warm_after_one_round() -> None:
    """A first slow block does not matter once the last two agree; the observer hears how many were sent."""
    generator = Generator([0.9, 0.1, 0.11])
    assert await warm(generator) == ((), [WarmingUp(requests=24)])


@pytest.mark.asyncio
async def test_every_block_holds_the_same_payloads() -> None:
    """Only the service can make a later block faster: each sends the same eight; fewer are repeated."""
    generator = Generator([0.1, 0.1, 0.1])
    await warm(generator)
    assert generator.sent == [BODIES[:8] * 3]
    generator = Generator([0.1, 0.1, 0.1])
    await warm(generator, ["only one"])
    assert generator.sent == [["only one"] * 24]


@pytest.mark.asyncio
async def test_it_goes_on_while_the_service_gets_faster() -> None:
    """Two blocks that differ by more than a fifth are not the steady pace."""
    findings, told = await warm(Generator([3, 2, 1], [0.9, 0.6, 0.4], [0.3, 0.2, 0.19]))
    assert findings == ()
    assert told == [WarmingUp(requests=24), WarmingUp(requests=48), WarmingUp(requests=72)]


@pytest.mark.asyncio
@pytest.mark.parametrize(("last", "word"), [([1.0, 1.0, 2.0], "100%"), ([1.0, 2.0, 1.0], "100%")])
async def test_a_service_that_never_settles_is_a_finding(last: list[float], word: str) -> None:
    """After five rounds the measurement is void, by the rule, the value, the limit and what to do."""
    (finding,), told = await warm(Generator(*[[1, 2, 4]] * 4, last))
    assert told[-1] == WarmingUp(requests=120)
    assert (finding.rule, finding.kind) == ("warm-up", "invalid")
    assert finding.message == f"after 120 warm-up requests the median of 8 still changed by {word}"
    assert finding.value == pytest.approx(1.0)
    assert 0.2 < finding.limit < 0.25
    assert finding.recommendation


@pytest.mark.asyncio
async def test_a_block_without_an_answer_tells_no_pace() -> None:
    """Failures while it starts are waited out; they neither count as fast nor end the warm-up."""
    findings, told = await warm(Generator([None, 0.1, 0.1], [0.1, 0.1, None], [0.1, 0.1, 0.1]))
    assert (findings, len(told)) == ((), 3)


@pytest.mark.asyncio
async def test_a_service_that_keeps_failing_now_and_then_is_a_finding_in_words() -> None:
    """Where no round had an answer in each block there is no change to speak of, and no "inf%" either."""
    (finding,), _ = await warm(Generator(*[[0.1, None, 0.1]] * 5))
    assert finding.kind == "invalid"
    assert "inf" not in finding.message
    assert "120 in all" in finding.message


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
        await warm(Generator([None] * 3, status=422))
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
        await warm(Generator([None] * 3, status=500), [payload])
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
        await warm(Generator([None] * 3))
    assert "asked once more" not in str(caught.value)
