"""Warm-up: requests that are not judged, until the service answers at a steady pace."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from contextlib import suppress

import httpx
import numpy as np

from pytest_inferbench.deployment import Deployment
from pytest_inferbench.errors import DeploymentError
from pytest_inferbench.events import Observer, WarmingUp
from pytest_inferbench.judgement.validity import Finding
from pytest_inferbench.loadgen import LoadGenerator, Target
from pytest_inferbench.runs.run import Failure, Run

__all__ = ["warm_up"]

_BLOCK = 8
_BLOCKS_PER_ROUND = 3
_MAX_ROUNDS = 5
_TOLERANCE = 0.2
#: Until then it is known that a process has ended.
_NOTICED_SECONDS = 0.3


async def warm_up(
    generator: LoadGenerator, bodies: Sequence[object], service: Deployment, observe: Observer
) -> tuple[Finding, ...]:
    """Send requests one after the other until the median of a block of them no longer moves.

    Every block holds the same payloads, so that only the service can make it faster. Returns a finding if it
    never settles. Raises DeploymentError if no request succeeds: there is nothing to measure then.
    """
    chosen = [bodies[index % len(bodies)] for index in range(_BLOCK)] * _BLOCKS_PER_ROUND
    change = math.inf
    for number in range(1, _MAX_ROUNDS + 1):
        run = await generator.issue_closed(chosen, concurrency=1)
        observe(WarmingUp(requests=number * len(chosen)))
        if run.failed.all():
            raise DeploymentError(await _refusal(generator.target, chosen[0], run, service))
        seconds = np.where(run.failed, np.nan, run.service_time_ns / 1e9).reshape(_BLOCKS_PER_ROUND, _BLOCK)
        if np.isnan(seconds).all(axis=1).any():
            continue
        medians = np.nanmedian(seconds, axis=1)
        change = abs(math.log(medians[-1] / medians[-2]))
        if change < _TOLERANCE:
            return ()
    sent = _MAX_ROUNDS * len(chosen)
    message = f"after {sent} warm-up requests the median of {_BLOCK} still changed by {math.expm1(change):.0%}"
    if math.isinf(change):
        message = f"again and again {_BLOCK} warm-up requests in a row failed, {sent} in all did not show a steady pace"
    return (
        Finding(
            rule="warm-up",
            kind="invalid",
            message=message,
            value=math.expm1(change),
            limit=math.expm1(_TOLERANCE),
            recommendation="see whether something else loads this machine, or the service still compiles",
        ),
    )


async def _refusal(target: Target, payload: object, run: Run, service: Deployment) -> str:
    """Describe a service that answers no request well, with what it answered."""
    kinds = ", ".join(
        f"{run.count(kind)} x {kind.name.lower()}" for kind in Failure if kind is not Failure.NONE and run.count(kind)
    )
    statuses = sorted({int(status) for status in run.status if status})
    shown = re.sub("//[^/]*@", "//***@", target.url)
    await asyncio.sleep(_NOTICED_SECONDS)
    log = "\n".join(f"  | {line}" for line in service.log_tail().splitlines())
    if not service.alive:
        return f"the service's process ended while it was warmed up: nothing is measured\n  end of its log:\n{log}"
    return (
        f"every one of the first {len(run)} requests to {shown} failed ({kinds}; HTTP status "
        f"{', '.join(map(str, statuses)) or 'none'}): there is nothing to measure{await _answer(target, payload)}\n"
        "  check `path` in [tool.inferbench] and the fixtures inference_payloads and inference_target\n"
        f"  end of the service's log:\n{log}"
    )


async def _answer(target: Target, payload: object) -> str:
    """Return what one such request is told, for the message alone."""
    with suppress(httpx.HTTPError):
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
            response = await client.request(
                target.method,
                target.url,
                headers=dict(target.headers or {}),
                content=payload if isinstance(payload, str | bytes) else None,
                json=None if isinstance(payload, str | bytes) else payload,
            )
            return f"\n  asked once more, it answered {response.status_code}: {response.text[:300]!r}"
    return ""
