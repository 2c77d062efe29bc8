"""What is created in a cluster for one boot: the user's manifests, under names and labels of their own."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_inferbench.config.profile import DeploymentSpec
from pytest_inferbench.deployment.kubernetes.kubectl import ClusterError, Kubectl, Manifest
from pytest_inferbench.errors import DeploymentError

__all__ = ["BOOT_LABEL", "OWNER_ANNOTATION", "RUN_LABEL", "adapt", "entrance", "render", "resource", "served"]

#: Which pytest session made an object, and for which of its boots.
RUN_LABEL = "inferbench.dev/run"
BOOT_LABEL = "inferbench.dev/boot"
#: Who that session was: JSON with host, pid, started (seconds since the epoch).
OWNER_ANNOTATION = "inferbench.dev/owner"

_NODE_PORTS = ("NodePort", "LoadBalancer")


def render(
    kubectl: Kubectl, overlay: Path, folder: Path, *, run: str, boot: str, owner: Mapping[str, object]
) -> list[Manifest]:
    """Return the objects of ``overlay`` (a kustomization's folder, or a file of manifests) for one boot.

    Names get the boot as a suffix, labels and selectors the run and the boot: whatever else is in the namespace, this
    boot's objects meet only each other. ``folder`` is for a temporary kustomization. Nothing is asked of the cluster.
    """
    if not overlay.exists():
        raise DeploymentError(
            f"deployment.overlay: {overlay} does not exist; name a kustomization folder or a manifest file"
        )
    here = folder / f"kustomization-{boot}"
    here.mkdir(parents=True, exist_ok=True)
    wrapper = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        # kustomize takes no absolute paths, and resolves links before it counts the ways up.
        "resources": [os.path.relpath(overlay.resolve(), here.resolve())],
        "namespace": kubectl.namespace,
        "nameSuffix": f"-{boot}",
        "labels": [{"pairs": {RUN_LABEL: run, BOOT_LABEL: boot}, "includeSelectors": True}],
    }
    (here / "kustomization.yaml").write_text(json.dumps(wrapper), encoding="utf-8")
    arguments = ("kustomize", "--load-restrictor=LoadRestrictionsNone", str(here))
    try:
        text = kubectl.run(*arguments, offline=True)
        # Local: kubectl reads the YAML and writes JSON, without asking the cluster.
        note = f"{OWNER_ANNOTATION}={json.dumps(owner, sort_keys=True)}"
        text = kubectl.run("annotate", "--local", "--filename=-", "--output=json", note, stdin=text, offline=True)
    except ClusterError as error:
        raise DeploymentError(f"deployment.overlay {overlay} cannot be rendered: {error}") from error
    return [item for document in _documents(text) for item in document.get("items", [document])]


def adapt(objects: Sequence[Manifest], spec: DeploymentSpec, environment: Mapping[str, str]) -> list[Manifest]:
    """Return ``objects`` with the profile's image and replicas, and ``environment``, in the Deployment under test.

    Namespaces are left out: whether one is made is decided by whether it exists. Raises DeploymentError unless there
    is a Service, and a Deployment behind it.
    """
    adapted = [copy.deepcopy(dict(item)) for item in objects if item["kind"] != "Namespace"]
    _, deployment = served(adapted)
    if spec.replicas is not None:
        deployment["spec"]["replicas"] = spec.replicas
    container = _container(deployment["spec"]["template"])
    if spec.image is not None:
        container["image"] = spec.image
    variables = [item for item in container.get("env", []) if item["name"] not in environment]
    container["env"] = [*variables, *({"name": name, "value": value} for name, value in environment.items())]
    return list(adapted)


def served(objects: Sequence[Manifest]) -> tuple[Any, Any]:
    """Return the Service to measure through (one with a NodePort first), and the Deployment that it leads to."""
    services = [item for item in objects if item["kind"] == "Service" and item["spec"].get("selector")]
    services.sort(key=lambda item: item["spec"].get("type") not in _NODE_PORTS)
    for service in services:
        wanted = service["spec"]["selector"].items()
        for item in objects:
            if item["kind"] != "Deployment":
                continue
            if wanted <= item["spec"]["template"]["metadata"].get("labels", {}).items():
                return service, item
    kinds = ", ".join(sorted(f"{item['kind']} {item['metadata']['name']}" for item in objects)) or "nothing"
    raise DeploymentError(
        f"deployment.overlay: no Service in it selects a Deployment (it has {kinds}); add both, the Service with "
        "type: NodePort"
    )


def entrance(objects: Sequence[Manifest]) -> tuple[str, int]:
    """Return the name of the container under test, and the port inside the pod that the Service leads to."""
    service, deployment = served(objects)
    container = _container(deployment["spec"]["template"])
    port = service["spec"]["ports"][0]
    target = port.get("targetPort", port["port"])
    named = {item["name"]: item["containerPort"] for item in container.get("ports", []) if "name" in item}
    return str(container["name"]), int(named.get(target, target) if isinstance(target, str) else target)


def resource(item: Manifest) -> str:
    """Return what kubectl calls an object without doubt: ``Deployment.apps/sentiment-1a2b3c-1``."""
    group = item["apiVersion"].rpartition("/")[0]
    return f"{item['kind']}{f'.{group}' if group else ''}/{item['metadata']['name']}"


def _container(template: Manifest) -> Any:
    containers = template["spec"]["containers"]
    default = template["metadata"].get("annotations", {}).get("kubectl.kubernetes.io/default-container")
    return next((item for item in containers if item["name"] == default), containers[0])


def _documents(text: str) -> Iterator[Manifest]:
    """Yield the JSON values that stand one after the other in ``text``."""
    decoder, position = json.JSONDecoder(), 0
    while (start := position + len(text[position:]) - len(text[position:].lstrip())) < len(text):
        value, position = decoder.raw_decode(text, start)
        yield value
