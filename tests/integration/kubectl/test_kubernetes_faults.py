"""Disruptions of a service in a cluster, as command lines: what kubectl is told, against the stand-in."""

from __future__ import annotations

import asyncio
import json

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
    SlowNetwork,
    Target,
)
from pytest_inferbench.deployment.disruptor import DisruptsItself, InjectedFault, objection
from pytest_inferbench.errors import DeploymentError

SHORT = 0.05


def orders(cluster):
    """Return what kubectl was told, without context and namespace, looks and reads left out."""
    skipped = ("kustomize", "annotate", "get", "create", "logs")
    lines = []
    for call in cluster.calls:
        words = call["arguments"]
        while words[0] in ("--context", "--namespace"):
            words = words[2:]
        if words[0] not in skipped:
            lines.append(" ".join(word for word in words if not word.startswith("--request-timeout")))
    return lines


@pytest.fixture
def service(cluster):
    """A service with two pods, whose processes answer what they are asked."""
    cluster.plays(inside="pid 7")
    service = cluster.service(replicas=2)
    service.boot()
    yield service
    service.stop()


@pytest.fixture
def name(service):
    return f"sentiment-{service.boot_name}"


def disrupt(service, disruption):
    """Carry one out and return its fault."""
    fault = InjectedFault(disruption)
    asyncio.run(service.disrupt(fault))
    return fault


def test_a_service_in_a_cluster_is_disrupted_its_way(service):
    """The disruptor hands over to it, and it has no objection to anything that one node allows."""
    assert isinstance(service, DisruptsItself)
    for one in (KillWorker(at=1), Freeze(at=1), Restart(at=1), CpuPressure(at=1), DeletePod(at=1), SlowNetwork(at=1)):
        assert objection(service, one, Target("/classify")) == ""


@pytest.mark.parametrize(
    ("forced", "order"), [(False, "delete pod {0}-0 --wait=false"), (True, "delete pod {0}-0 --wait=false {1}")]
)
def test_a_pod_is_deleted_gracefully_or_by_force(cluster, service, name, forced, order):
    """The first ready pod is named; only by force is its grace period nought."""
    fault = disrupt(service, DeletePod(at=1, forced=forced))
    assert orders(cluster) == [order.format(name, "--grace-period=0 --force")]
    assert fault.began_ns is not None
    assert f"deleted {name}-0" in fault.detail


def test_every_pod_is_deleted_by_one_order(cluster, service, name):
    """All of them go at the same time, not one after the other."""
    disrupt(service, DeletePod(at=1, pods="all"))
    assert orders(cluster) == [f"delete pod {name}-0 {name}-1 --wait=false"]


def test_more_pods_than_there_are_cannot_be_deleted(cluster, service):
    """The fault does not begin, and the error has both numbers."""
    with pytest.raises(DeploymentError, match="3 pods should be deleted, but only 2 are ready"):
        disrupt(service, DeletePod(at=1, pods=3))
    assert orders(cluster) == []


@pytest.mark.parametrize(
    ("workers", "given"), [(1, {"0": "1"}), (2, {"0": "1", "1": "1"}), ("all", {"0": "all", "1": "all"})]
)
def test_workers_are_killed_inside_their_containers_pod_by_pod(cluster, service, name, workers, given):
    """As many as wanted, from the first pod on; the program is told the port and how many."""
    fault = disrupt(service, KillWorker(at=1, workers=workers))
    told = {order.split()[2].removeprefix(f"{name}-"): order.split()[-4:] for order in orders(cluster)}
    assert told == {pod: ["kill", "3000", number, "0.0"] for pod, number in given.items()}
    assert all("--container=service -- python3 -c" in order for order in orders(cluster))
    assert fault.detail.startswith(f"SIGKILL to pid 7 in {name}-0")


def test_more_workers_than_the_pods_have_cannot_be_killed(cluster, service):
    """Nobody is killed where not all can be."""
    with pytest.raises(DeploymentError, match="3 workers should be disrupted, but 2 pods have 1 each"):
        disrupt(service, KillWorker(at=1, workers=3))
    assert orders(cluster) == []


def test_a_frozen_worker_continues_when_the_control_pipe_closes(cluster, service):
    """The program inside knows the duration, and ends with its input: the fault lasts as long as it was to."""
    fault = disrupt(service, Freeze(at=1, duration=SHORT))
    (order,) = orders(cluster)
    assert order.endswith(f" freeze 3000 1 {SHORT}")
    assert fault.began_ns is not None


@pytest.mark.parametrize(
    ("disruption", "words"),
    [
        (CpuPressure(at=1, duration=SHORT, processes=2), [f"cpu {SHORT} 0"] * 2),
        (MemoryPressure(at=1, duration=SHORT, amount="1MiB"), [f"memory {SHORT} 1048576"]),
    ],
)
def test_pressure_is_made_inside_the_first_pod(cluster, service, name, disruption, words):
    """So many programs are started in it, with seconds and bytes."""
    disrupt(service, disruption)
    assert [" ".join(order.split()[-3:]) for order in orders(cluster)] == words
    assert all(order.startswith(f"exec --stdin {name}-0 ") for order in orders(cluster))


def test_the_program_runs_in_the_pod_and_ends_with_its_control_pipe(cluster, service, name):
    """The program comes whole through standard input: it takes the memory, says so, and ends before its time."""
    cluster.plays(runs=True)

    async def cut_short():
        fault = InjectedFault(MemoryPressure(at=1, duration=600, amount="1MiB"))
        task = asyncio.create_task(service.disrupt(fault))
        while fault.began_ns is None:
            await asyncio.sleep(0.01)
            assert not task.done() or task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return fault

    assert asyncio.run(cut_short()).detail == f"1 x memory inside {name}-0"


def test_what_the_program_in_the_pod_refuses_is_the_error(cluster, service, name):
    """The program that really runs finds nobody who listens on the port, and its message is the error."""
    cluster.plays(runs=True)
    with pytest.raises(DeploymentError, match=f"inside pod {name}-0: 1 workers should be disrupted, but only 0 were"):
        disrupt(service, KillWorker(at=1))


def test_a_container_without_python_is_told_with_the_way_out(cluster, service):
    """What cannot be done there is one clear error, with what can."""
    cluster.plays(refuse={"exec": 'exec: "python3": executable file not found in $PATH: unknown'})
    with pytest.raises(DeploymentError, match=r"its container has no python3.*use DeletePod, Restart"):
        disrupt(service, KillWorker(at=1))


def test_what_the_program_inside_says_is_the_error(cluster, service, name):
    """Its last line is the reason, not that a command ended with a status."""
    cluster.plays(refuse={"exec": "1 workers should be disrupted, but only 0 were found\ncommand terminated with 1"})
    with pytest.raises(DeploymentError, match=f"inside pod {name}-0: 1 workers should be disrupted, but only 0"):
        disrupt(service, KillWorker(at=1))


def test_pressure_beyond_the_limit_of_the_container_is_told(cluster, service, name):
    """What presses may be what the cluster ends: the error says so, and what to do."""
    cluster.plays(refuse={"exec": "command terminated with exit code 137"})
    with pytest.raises(DeploymentError, match=f"inside pod {name}-0: .*exceeded the container's memory limit"):
        disrupt(service, MemoryPressure(at=1, duration=1, amount="8GiB"))


def test_a_restart_is_a_rollout_of_the_deployment_under_test(cluster, service, name):
    """The Deployment of this boot is named with its group, and the fault lasts until every replica is new."""
    fault = disrupt(service, Restart(at=1))
    assert orders(cluster) == [f"rollout restart Deployment.apps/{name}"]
    assert "every pod replaced" in fault.detail


def test_scaling_is_undone(cluster, service, name):
    """After the duration there are as many replicas as before."""
    disrupt(service, Scale(at=1, replicas=0, duration=SHORT))
    assert orders(cluster) == [f"scale Deployment.apps/{name} --replicas={n}" for n in (0, 2)]


def test_a_fault_that_is_cancelled_is_undone(cluster, service, name):
    """The run ends before the duration: the replicas are asked for again at once."""

    async def cut_short():
        fault = InjectedFault(Scale(at=1, replicas=1, duration=60))
        task = asyncio.create_task(service.disrupt(fault))
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if fault.began_ns is not None:
                break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cut_short())
    assert orders(cluster) == [f"scale Deployment.apps/{name} --replicas={n}" for n in (1, 2)]


def with_resources(cluster, resources):
    """Give every pod's container these resources."""
    containers = [{"name": "service", "resources": resources}]
    cluster.holds(*({**o, "spec": {"containers": containers}} if o["kind"] == "Pod" else o for o in cluster.objects))


def test_a_cpu_limit_is_squeezed_in_every_pod_and_given_back(cluster, service, name):
    """The pods are resized where they are: limit and request become the given CPU, and then what they were."""
    with_resources(cluster, {"limits": {"cpu": "2", "memory": "3Gi"}, "requests": {"cpu": "500m"}})
    disrupt(service, LimitCpu(at=1, cpu=0.25, duration=SHORT))
    heads = [f"patch pod {name}-{pod} --subresource=resize " for pod in (0, 1, 0, 1)]
    assert [order.partition("--patch=")[0] for order in orders(cluster)] == heads
    patches = [json.loads(order.partition("--patch=")[2]) for order in orders(cluster)]
    assert [patch["spec"]["containers"][0]["resources"] for patch in patches] == [
        *[{"limits": {"cpu": "250m"}, "requests": {"cpu": "250m"}}] * 2,
        *[{"limits": {"cpu": "2"}, "requests": {"cpu": "500m"}}] * 2,
    ]


def test_a_cluster_that_cannot_resize_pods_is_told(cluster, service):
    """The error names the version that can."""
    with_resources(cluster, {"limits": {"cpu": "2"}})
    cluster.plays(refuse={"patch": "error: invalid subresource value"})
    with pytest.raises(DeploymentError, match=r"invalid subresource value.*needs Kubernetes 1\.33"):
        disrupt(service, LimitCpu(at=1))


@pytest.mark.parametrize(("version", "refused"), [(["1", "32+"], True), (["1", "33"], False), (["2", "0"], False)])
def test_pods_are_not_resized_by_a_cluster_that_is_too_old(cluster, service, version, refused):
    """It is refused before anything is booted, with the version that it takes."""
    cluster.plays(version=version)
    problem = objection(service, LimitCpu(at=1), Target("/classify"))
    assert ("the cluster runs Kubernetes 1.32, but resizing pods in place needs 1.33" in problem) == refused
    assert bool(problem) == refused


@pytest.mark.parametrize("version", [["one", "33"], [None, "33"], ["1", ""]])
def test_a_version_that_makes_no_sense_is_told(cluster, service, version):
    """What the cluster says of its version need not be a number."""
    cluster.plays(version=version)
    assert "did not report its version" in objection(service, LimitCpu(at=1), Target("/classify"))


def node(name):
    return {"kind": "Node", "metadata": {"name": name}}


def test_the_only_node_is_not_cordoned(cluster, service):
    """With one node it is refused before anything is booted."""
    cluster.holds(*cluster.objects, node("one"))
    assert "Cordon at 1.00 s" in objection(service, Cordon(at=1), Target("/classify"))
    assert "the cluster has one node" in objection(service, Cordon(at=1), Target("/classify"))


def test_a_node_is_cordoned_where_there_is_another_and_uncordoned(cluster, service):
    """The node of the first pod is closed for new ones, and opened again."""
    placed = [{**item, "spec": {"nodeName": "one"}} if item["kind"] == "Pod" else item for item in cluster.objects]
    cluster.holds(*placed, node("one"), node("two"))
    assert objection(service, Cordon(at=1), Target("/classify")) == ""
    disrupt(service, Cordon(at=1, duration=SHORT))
    assert orders(cluster) == ["cordon one", "uncordon one"]


def test_where_no_pod_is_ready_there_is_nothing_to_disturb(cluster, service):
    """A disruption without anything to hit is an error, not a success."""
    cluster.holds(*(item for item in cluster.objects if item["kind"] != "Pod"))
    with pytest.raises(DeploymentError, match="no pod is ready"):
        disrupt(service, DeletePod(at=1))
