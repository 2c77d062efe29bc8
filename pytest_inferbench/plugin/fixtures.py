"""The fixtures: the service, the paper's three workloads, and what a user's conftest may override.

The service lives as long as the session. A workload is made for each test, since each folder may override what it is
made of: the payloads and the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from pytest_inferbench.plugin.session import SESSION

if TYPE_CHECKING:
    from pytest_inferbench.harness.handles import BoundWorkload, CapacityFinder, InferenceService
    from pytest_inferbench.loadgen import Target
    from pytest_inferbench.workload.arrivals import ArrivalProcess
    from pytest_inferbench.workload.workload import PayloadSource

__all__ = [
    "DEFAULT_WORKLOADS",
    "bursty",
    "capacity",
    "high_intensity",
    "inference_payloads",
    "inference_service",
    "inference_target",
    "steady",
    "workload",
]

#: Rate (per second), CV of the gaps and duration (seconds) where the configuration says nothing else.
DEFAULT_WORKLOADS = {
    "steady": {"rate": 6.0, "cv": 1.0, "duration": 15.0},
    "bursty": {"rate": 6.0, "cv": 3.0, "duration": 15.0},
    "high_intensity": {"rate": 40.0, "cv": 1.0, "duration": 15.0},
}


@pytest.fixture(scope="session")
def inference_service(request: pytest.FixtureRequest) -> InferenceService:
    """The service under the profile under test; booted when it is measured, or by ``running()``."""
    from pytest_inferbench.harness.handles import InferenceService

    session = request.config.stash[SESSION]
    return InferenceService(session.harness, getattr(request, "param", session.settings.selected[0]))


@pytest.fixture(scope="session")
def inference_target(request: pytest.FixtureRequest) -> Target:
    """Where requests go: a :class:`Target` with a path (or an absolute URL). Override it for headers or a method."""
    from pytest_inferbench.loadgen import Target

    return Target(request.config.stash[SESSION].settings.project.path)


@pytest.fixture(scope="session")
def inference_payloads() -> PayloadSource:
    """What requests carry: a list to draw from, or a function ``(count, rng) -> list``. Override it."""
    return [None]


@pytest.fixture
def workload(
    request: pytest.FixtureRequest, inference_target: Target, inference_payloads: PayloadSource
) -> Callable[..., BoundWorkload]:
    """Make a workload of one's own.

    ``workload("spike", Gamma(20, 4), duration=10)``: any arrival process; or ``workload("bursty", rate=3)``: a
    configured one with other figures. ``target`` and ``payloads`` replace those of the fixtures.
    """

    def make(
        name: str,
        process: ArrivalProcess | None = None,
        *,
        rate: float | None = None,
        cv: float | None = None,
        duration: float | None = None,
        target: Target | None = None,
        payloads: PayloadSource | None = None,
    ) -> BoundWorkload:
        from pytest_inferbench.config.workloads import is_renewal, make_process
        from pytest_inferbench.harness.handles import BoundWorkload
        from pytest_inferbench.workload.workload import Workload

        settings = request.config.stash[SESSION].settings
        given = {"rate": rate, "cv": cv, "duration": duration}
        defaults: Mapping[str, Any] = DEFAULT_WORKLOADS.get(name, DEFAULT_WORKLOADS["steady"])
        configured = settings.project.workloads.get(name, {})
        if not is_renewal(configured):
            defaults = {"duration": defaults["duration"]}  # a rate and a CV are of no other process
        chosen = {key: value for key, value in given.items() if value is not None}
        table: dict[str, Any] = {**defaults, **configured, **chosen}
        if process is None:
            process = make_process(table, settings.root)
        return BoundWorkload(
            Workload(name, process, settings.duration or table["duration"]),
            settings.endpoint(target or inference_target),
            inference_payloads if payloads is None else payloads,
            settings.project.warm_up_of(name),
        )

    return make


@pytest.fixture
def capacity(
    request: pytest.FixtureRequest, inference_target: Target, inference_payloads: PayloadSource
) -> CapacityFinder:
    """The highest rate at which an SLO holds: ``found = await capacity.find(inference_service, SLO(p95="250ms"))``."""
    from pytest_inferbench.harness.handles import CapacityFinder

    settings = request.config.stash[SESSION].settings
    return CapacityFinder(settings.endpoint(inference_target), inference_payloads, settings.project.warmup)


@pytest.fixture
def steady(workload: Callable[..., BoundWorkload]) -> BoundWorkload:
    """Independent users at a moderate rate: exponential gaps."""
    return workload("steady")


@pytest.fixture
def bursty(workload: Callable[..., BoundWorkload]) -> BoundWorkload:
    """The same mean rate in bursts: gamma gaps with a coefficient of variation of 3."""
    return workload("bursty")


@pytest.fixture
def high_intensity(workload: Callable[..., BoundWorkload]) -> BoundWorkload:
    """Exponential gaps at a rate that a plain service does not sustain."""
    return workload("high_intensity")
