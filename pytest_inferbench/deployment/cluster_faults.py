"""What can be done on purpose to a service in a cluster: each a few commands, and undone by :meth:`ClusterFaults.undo`.

Which pod is meant by "the first" is the first by name among those that take requests, so that a repeat does the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from pytest_inferbench.deployment import cluster_state
from pytest_inferbench.deployment.kubernetes import KubernetesService
from pytest_inferbench.errors import DeploymentError

__all__ = ["ClusterFaults"]


class ClusterFaults:
    """Disturbs one booted :class:`KubernetesService`. Every method returns once the cluster has taken the order.

    They raise DeploymentError where there is nothing to disturb, or the cluster refuses.
    """

    def __init__(self, service: KubernetesService) -> None:
        self._service = service
        self._kubectl = service.kubectl
        self._undo: list[Callable[[], object]] = []

    def kill_process(self) -> str:
        """End the main process of the first pod's container by SIGKILL, from inside; returns the pod.

        Process 1 of a container ignores a SIGKILL from its own namespace: its children are killed, of which the
        service's own supervision or the liveness probe takes notice.
        """
        pod = self._first()
        script = (
            "import os, signal\n"
            "for name in os.listdir('/proc'):\n"
            "    if name.isdigit() and int(name) not in (1, os.getpid()):\n"
            "        os.kill(int(name), signal.SIGKILL)\n"
        )
        self._kubectl.run("exec", pod, "--", "python", "-c", script)
        return pod

    def delete_pod(self, *, forced: bool = False) -> str:
        """Delete the first pod, which may finish what it has begun, or (``forced``) is killed at once; returns it."""
        pod = self._first()
        how = ("--grace-period=0", "--force") if forced else ()
        self._kubectl.run("delete", "pod", pod, "--wait=false", *how)
        return pod

    def rolling_restart(self) -> None:
        """Replace every pod by a new one, as a release does."""
        self._kubectl.run("rollout", "restart", self._service.deployment)

    def scale(self, replicas: int) -> None:
        """Ask for so many replicas; undone, as many as before."""
        deployment = self._service.deployment
        (found,) = self._kubectl.get(deployment)
        before = int(found["spec"].get("replicas", 1))
        self._undo.append(lambda: self._kubectl.run("scale", deployment, f"--replicas={before}"))
        self._kubectl.run("scale", deployment, f"--replicas={replicas}")

    def limit_cpu(self, cpu: str) -> None:
        """Give every container of the Deployment at most ``cpu`` (``"250m"``) from now on; undone, what it had.

        The pods are replaced by others with that limit: it is a release that squeezes them, without a gap.
        """
        deployment = self._service.deployment
        (found,) = self._kubectl.get(deployment)
        containers = found["spec"]["template"]["spec"]["containers"]
        before = {item["name"]: item.get("resources", {}) for item in containers}
        self._undo.append(lambda: self._set_resources(deployment, before))
        squeezed = {
            name: {
                **resources,
                "limits": {**resources.get("limits", {}), "cpu": cpu},
                # A request above the limit would be refused.
                "requests": {**resources.get("requests", {}), "cpu": cpu},
            }
            for name, resources in before.items()
        }
        self._set_resources(deployment, squeezed)

    def cordon(self) -> str:
        """Let the first pod's node take no new pods, where there is another node; undone, it may again."""
        if len(self._kubectl.get("nodes", namespaced=False)) < 2:
            raise DeploymentError("a cluster of one node cannot be cordoned: nothing could run in it any more")
        node = min(str(pod["spec"]["nodeName"]) for pod in self._service.pods() if pod["spec"].get("nodeName"))
        self._undo.append(lambda: self._kubectl.run("uncordon", node, namespaced=False))
        self._kubectl.run("cordon", node, namespaced=False)
        return node

    def undo(self) -> None:
        """Put back what was changed, the latest first. What was deleted the cluster has replaced by itself."""
        while self._undo:
            self._undo.pop()()

    def _first(self) -> str:
        ready = sorted(cluster_state.ready_pods(self._service.pods()))
        if not ready:
            raise DeploymentError("there is no pod that takes requests, hence none to disturb")
        return ready[0]

    def _set_resources(self, deployment: str, resources: Mapping[str, object]) -> None:
        patch = [{"name": name, "resources": {"$patch": "replace", **_mapping(r)}} for name, r in resources.items()]
        body = {"spec": {"template": {"spec": {"containers": patch}}}}
        self._kubectl.run("patch", deployment, "--type=strategic", f"--patch={json.dumps(body)}")


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}
