"""Disruptions of a service with two replicas on a real cluster: each has its effect, and leaves the service whole."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from pytest_inferbench import (
    Cordon,
    CpuPressure,
    DeletePod,
    Freeze,
    KillWorker,
    LimitCpu,
    MemoryPressure,
    Restart,
    Scale,
    Target,
)
from pytest_inferbench.deployment.disruptor import InjectedFault, objection
from pytest_inferbench.deployment.kubernetes.state import ready_pods
from pytest_inferbench.errors import DeploymentError

WHOLE_WITHIN = 120.0


@contextmanager
def under_way(service, disruption):
    """Yield its fault once it has begun; on leaving, wait until it is over. What goes wrong in it is raised."""
    fault = InjectedFault(disruption)
    with ThreadPoolExecutor(max_workers=1) as thread:
        done = thread.submit(asyncio.run, service.disrupt(fault))
        while not done.done() and fault.began_ns is None:
            time.sleep(0.05)
        yield fault
        done.result()


@pytest.fixture
def service(two_replicas):
    """The service, whole before and after."""
    whole(two_replicas)
    yield two_replicas
    whole(two_replicas)


def whole(service):
    """Wait until two pods take requests and none is going."""
    deadline = time.monotonic() + WHOLE_WITHIN
    while not (len(service.pods()) == len(names(service)) == 2 and service.rolled_out()):
        assert time.monotonic() < deadline, [pod["status"] for pod in service.pods()]
        time.sleep(0.5)


def names(service):
    return set(ready_pods(service.pods()))


def ask(service, times=1):
    """Ask over a new connection each time, as new clients do; return the slowest answer's seconds."""
    slowest = 0.0
    for _ in range(times):
        started = time.monotonic()
        answer = httpx.post(f"{service.url}/classify", json={"text": "fine"}, timeout=60, trust_env=False)
        assert answer.status_code == 200
        slowest = max(slowest, time.monotonic() - started)
    return slowest


def test_a_killed_worker_comes_back_in_its_pod(service):
    """The worker that BentoML's manager started is killed, and another one answers; the pod stays."""
    before = names(service)
    with under_way(service, KillWorker(at=1)) as fault:
        assert fault.detail.startswith("SIGKILL to pid ")
    whole(service)
    assert names(service) == before


def test_a_frozen_worker_keeps_its_clients_waiting(service):
    """Of new connections one in two goes to the frozen pod and waits; afterwards none does."""
    ask(service, 4)
    with under_way(service, Freeze(at=1, duration=4)):
        assert ask(service, 8) > 1.0
    assert ask(service, 8) < 2.0


@pytest.mark.parametrize("forced", [False, True])
def test_a_deleted_pod_is_replaced(service, forced):
    """One of the two is another one afterwards."""
    before = names(service)
    with under_way(service, DeletePod(at=1, forced=forced)) as fault:
        assert min(before) in fault.detail
    deadline = time.monotonic() + WHOLE_WITHIN
    while min(before) in names(service):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    whole(service)
    assert len(names(service) - before) == 1


def test_a_restart_replaces_every_pod(service):
    """Two others afterwards, and the fault lasted until they took requests."""
    before = names(service)
    with under_way(service, Restart(at=1)) as fault:
        pass
    assert "every pod replaced" in fault.detail
    assert not names(service) & before


def test_scaling_down_and_up(service):
    """One pod meanwhile, two afterwards."""
    with under_way(service, Scale(at=1, replicas=1, duration=6)):
        deadline = time.monotonic() + 5
        while len(names(service)) != 1:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    whole(service)


def limits(service):
    return {
        status["resources"]["limits"]["cpu"] for pod in service.pods() for status in pod["status"]["containerStatuses"]
    }


def test_a_squeezed_cpu_limit_is_enforced_without_a_restart(service):
    """The node enforces the lower limit in the same pods, and the old one afterwards."""
    if service.kubectl.server_version() < (1, 33):
        pytest.skip("the cluster is older than Kubernetes 1.33")
    before, enforced = names(service), limits(service)
    quick = ask(service, 4)
    with under_way(service, LimitCpu(at=1, cpu="50m", duration=8)):
        deadline = time.monotonic() + 7
        while limits(service) != {"50m"}:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert ask(service, 2) > quick
    deadline = time.monotonic() + 20
    while limits(service) != enforced:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert names(service) == before
    assert not any(status["restartCount"] for pod in service.pods() for status in pod["status"]["containerStatuses"])


def test_a_limit_is_not_squeezed_by_a_cluster_that_restarts_for_it(service):
    """Before Kubernetes 1.33 it is refused in advance."""
    if service.kubectl.server_version() >= (1, 33):
        pytest.skip("the cluster resizes pods in place")
    assert "resizing pods in place needs 1.33" in objection(service, LimitCpu(at=1), Target("/classify"))


@pytest.mark.parametrize(
    "disruption", [CpuPressure(at=1, duration=4), MemoryPressure(at=1, duration=4, amount="64MiB")]
)
def test_pressure_is_felt_in_the_first_pod_and_seen_in_what_it_uses(service, disruption):
    """Its control group counts the pressure, and the other pod's does not."""
    watch = service.watch()
    with under_way(service, disruption):
        pass
    (first, second), _ = watch.end()
    assert first.pod == min(names(service))
    assert first.cpu_seconds is not None
    assert second.cpu_seconds is not None
    assert first.peak_memory_bytes is not None
    if isinstance(disruption, CpuPressure):
        assert first.cpu_seconds > second.cpu_seconds + 1.0


def test_pressure_beyond_the_limit_ends_what_presses_not_the_service(service):
    """The kernel ends the largest process of the container: the error says so, and both pods still answer."""
    before = names(service)
    fault = InjectedFault(MemoryPressure(at=1, duration=4, amount="4GiB"))
    with pytest.raises(DeploymentError, match="exceeded the container's memory limit; use less"):
        asyncio.run(service.disrupt(fault))
    assert names(service) == before
    ask(service, 4)


def test_one_node_is_not_cordoned(service):
    """Where there is no other, it is refused in advance."""
    if len(service.kubectl.get("nodes", namespaced=False)) > 1:
        pytest.skip("the cluster has another node")
    assert "the cluster has one node" in objection(service, Cordon(at=1), Target("/classify"))


def test_a_cordoned_node_gets_no_new_pod(service):
    """What is deleted there comes back on another node, and afterwards the node is open again."""
    if len(service.kubectl.get("nodes", namespaced=False)) < 2:
        pytest.skip("the cluster has no other node")
    before = names(service)
    victim = min(before)
    with under_way(service, Cordon(at=1, duration=25)) as fault:
        (node,) = (pod["spec"]["nodeName"] for pod in service.pods() if pod["metadata"]["name"] == victim)
        assert fault.detail == f"node {node} cordoned"
        service.kubectl.run("delete", "pod", victim, "--wait=false")
        deadline = time.monotonic() + 20
        while not (new := [pod for pod in service.pods() if pod["metadata"]["name"] not in before]):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        while not (where := service.kubectl.get("pod", new[0]["metadata"]["name"])[0]["spec"].get("nodeName")):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert where != node
    (opened,) = service.kubectl.get("node", node, namespaced=False)
    assert not opened["spec"].get("unschedulable")
