"""Simulated services for studies of the gate: a single-server queue, with everything between two boots that varies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cell", "simulate", "simulate_with_arrivals", "sizes_of"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a study; times are in units of the mean service time of the unchanged service.

    ``cv``: coefficient of variation of the gaps (1 = Poisson, else gamma). ``utilisation``: of the unchanged
    service. ``boot_noise``: standard deviation of the log speed of a boot; ``heavy`` draws it from Student's t with
    3 degrees of freedom, scaled to the same standard deviation. ``drift``: log speed lost over a whole session of
    runs interleaved ABBA. ``jitter``: log standard deviation of one request's service time, independent on both
    sides. ``slower``: factor of the candidate's service times. ``tail``: one request in fifty takes five times as
    long on the candidate. ``independent``: the sides draw their own schedules and payloads. ``alike``: all payloads
    are of the same size. ``bursts``: share of the requests that meet a busy machine, which takes half as long again,
    for 20 requests at a time on average, at other times on either side. ``common``: standard deviation of a log speed
    that both boots of a pair have, because the machine was as it was while they ran.
    """

    cv: float = 1.0
    utilisation: float = 0.5
    boot_noise: float = 0.01
    pairs: int = 5
    requests: int = 400
    slower: float = 1.0
    tail: bool = False
    heavy: bool = False
    drift: float = 0.0
    jitter: float = 0.05
    independent: bool = False
    alike: bool = False
    bursts: float = 0.0
    common: float = 0.0


def simulate(cell: Cell, comparisons: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the latencies of both sides, reference first, each of shape (comparisons, pairs, requests)."""
    _, reference, candidate = simulate_with_arrivals(cell, comparisons, rng)
    return reference, candidate


def simulate_with_arrivals(
    cell: Cell, comparisons: int, rng: np.random.Generator, *, servers: int = 1
) -> tuple[Array, Array, Array]:
    """Return when the candidate's requests were due, and the latencies as `simulate` does; all of its shape.

    ``servers``: so many share one queue, each of the cell's utilisation (arrivals are as many times as frequent).
    """
    shape = (comparisons, cell.pairs, cell.requests)
    gaps, sizes = _gaps(cell, shape, rng), sizes_of(cell, shape, rng)
    common = cell.common * rng.standard_normal(shape[:2]) if cell.common else 0.0
    sides = []
    for side in range(2):
        if side and cell.independent:
            gaps, sizes = _gaps(cell, shape, rng), sizes_of(cell, shape, rng)
        service = sizes * np.exp(common + _speeds(cell, side, shape[:2], rng))[..., None]
        if cell.bursts:
            service = np.where(_bursts(cell.bursts, shape, rng), 1.5 * service, service)
        if cell.jitter:
            service = service * np.exp(cell.jitter * rng.standard_normal(shape))
        if side:
            service = service * cell.slower
            if cell.tail:
                service = np.where(rng.random(shape) < 0.02, 5 * service, service)
        sides.append(_sojourn(gaps, service) if servers == 1 else _shared(gaps / servers, service, servers))
    return np.cumsum(gaps, axis=-1) / servers, sides[0], sides[1]


def _gaps(cell: Cell, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Gamma gaps with mean 1 / utilisation; a coefficient of variation of 1 is the Poisson process."""
    k = cell.cv**-2
    return rng.gamma(k, 1 / (k * cell.utilisation), shape)


def sizes_of(cell: Cell, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Service times: a fixed part, and one per token (log-normal: median 24, p95 64, at most 128)."""
    if cell.alike:
        return np.ones(shape)
    tokens = np.minimum(24 * np.exp(np.log(64 / 24) / 1.645 * rng.standard_normal(shape)), 128)
    service: Array = (10 + tokens) / 38.7  # the mean of 10 + tokens, so that the mean service time is 1
    return service


def _speeds(cell: Cell, side: int, shape: tuple[int, int], rng: np.random.Generator) -> Array:
    _, pairs = shape
    noise = rng.standard_t(3, shape) / np.sqrt(3) if cell.heavy else rng.standard_normal(shape)
    at = np.array([2 * k + (side if k % 2 == 0 else 1 - side) for k in range(pairs)])
    return cell.boot_noise * noise + cell.drift * at / (2 * pairs - 1)


def _bursts(share: float, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whether each request meets a busy machine: bursts begin anywhere and last 20 requests on average."""
    begins = rng.random(shape) < share / 20
    begins[..., 0] |= rng.random(shape[:-1]) < share
    at = np.arange(shape[-1])
    ends = np.maximum.accumulate(np.where(begins, at + rng.geometric(1 / 20, shape), 0), axis=-1)
    busy: NDArray[np.bool_] = at < ends
    return busy


def _sojourn(gaps: Array, service: Array) -> Array:
    """Lindley's recursion in closed form: the wait is the walk of service minus gap above its running minimum."""
    step = service[..., :-1] - gaps[..., 1:]
    walk = np.concatenate([np.zeros((*service.shape[:-1], 1)), np.cumsum(step, axis=-1)], axis=-1)
    sojourn: Array = walk - np.minimum.accumulate(walk, axis=-1) + service
    return sojourn


def _shared(gaps: Array, service: Array, servers: int) -> Array:
    """Several servers and one queue: each request goes to the server that is free first (Kiefer and Wolfowitz 1955)."""
    due = np.cumsum(gaps, axis=-1)
    free = np.zeros((*due.shape[:-1], servers))
    sojourn = np.empty_like(service)
    for i in range(due.shape[-1]):
        free.sort(axis=-1)
        free[..., 0] = np.maximum(free[..., 0], due[..., i]) + service[..., i]
        sojourn[..., i] = free[..., 0] - due[..., i]
    return sojourn
