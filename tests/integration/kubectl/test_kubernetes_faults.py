"""Faults in a cluster, as command lines: what kubectl is told, against the stand-in."""

from __future__ import annotations

import json

import pytest

from pytest_inferbench.deployment.cluster_faults import ClusterFaults
from pytest_inferbench.errors import DeploymentError


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
    """A service with two pods."""
    service = cluster.service(replicas=2)
    service.boot()
    yield service
    service.stop()


@pytest.mark.parametrize(
    ("forced", "order"), [(False, "delete pod {0}-0 --wait=false"), (True, "delete pod {0}-0 --wait=false {1}")]
)
def test_a_pod_is_deleted_gracefully_or_by_force(cluster, service, forced, order):
    """The first ready pod is named; only by force is its grace period nought."""
    ClusterFaults(service).delete_pod(forced=forced)
    name = f"sentiment-{service.boot_name}"
    assert orders(cluster) == [order.format(name, "--grace-period=0 --force")]


def test_a_process_is_killed_inside_its_container(cluster, service):
    """The command goes into the pod, and needs nothing there but Python."""
    assert ClusterFaults(service).kill_process() == f"sentiment-{service.boot_name}-0"
    (order,) = orders(cluster)
    assert order.startswith(f"exec sentiment-{service.boot_name}-0 -- python -c ")


def test_a_rolling_restart_is_of_the_deployment_under_test(cluster, service):
    """The Deployment of this boot is named with its group."""
    ClusterFaults(service).rolling_restart()
    assert orders(cluster) == [f"rollout restart Deployment.apps/sentiment-{service.boot_name}"]


def test_scaling_is_undone(cluster, service):
    """After undo there are as many replicas as before; a second undo does nothing."""
    faults, name = ClusterFaults(service), f"Deployment.apps/sentiment-{service.boot_name}"
    faults.scale(0)
    faults.undo()
    faults.undo()
    assert orders(cluster) == [f"scale {name} --replicas=0", f"scale {name} --replicas=2"]


def test_a_cpu_limit_is_squeezed_and_given_back(cluster, service):
    """Limit and request become the given CPU, whatever else is limited stays, and undo puts back what was there."""
    (deployment,) = [item for item in cluster.objects if item["kind"] == "Deployment"]
    before = {"limits": {"cpu": "2", "memory": "3Gi"}, "requests": {"cpu": "500m"}}
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"] = before
    others = [item for item in cluster.objects if item["kind"] != "Deployment"]
    cluster.holds(*others, deployment)
    faults = ClusterFaults(service)
    faults.limit_cpu("250m")
    faults.undo()
    patches = [json.loads(order.partition("--patch=")[2]) for order in orders(cluster)]
    resources = [patch["spec"]["template"]["spec"]["containers"][0]["resources"] for patch in patches]
    assert resources == [
        {"$patch": "replace", "limits": {"cpu": "250m", "memory": "3Gi"}, "requests": {"cpu": "250m"}},
        {"$patch": "replace", **before},
    ]


def node(name):
    return {"kind": "Node", "metadata": {"name": name}}


def test_the_only_node_is_not_cordoned(cluster, service):
    """With one node the order is refused before it is given."""
    cluster.holds(*cluster.objects, node("one"))
    with pytest.raises(DeploymentError, match="a cluster of one node cannot be cordoned"):
        ClusterFaults(service).cordon()
    assert orders(cluster) == []


def test_a_node_is_cordoned_where_there_is_another_and_uncordoned(cluster, service):
    """The node of the pods is closed for new ones, and opened again."""
    placed = [{**item, "spec": {"nodeName": "one"}} if item["kind"] == "Pod" else item for item in cluster.objects]
    cluster.holds(*placed, node("one"), node("two"))
    faults = ClusterFaults(service)
    assert faults.cordon() == "one"
    faults.undo()
    assert orders(cluster) == ["cordon one", "uncordon one"]


def test_where_no_pod_is_ready_there_is_nothing_to_disturb(cluster, service):
    """A fault without anything to hit is an error, not a success."""
    cluster.holds(*(item for item in cluster.objects if item["kind"] != "Pod"))
    with pytest.raises(DeploymentError, match="no pod that takes requests"):
        ClusterFaults(service).delete_pod()
