"""What a cluster says about a rollout: whether it is done, and why it never will be. Objects in, words out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_inferbench.deployment.kubernetes.kubectl import Manifest

__all__ = [
    "Problem",
    "describe_events",
    "describe_events_about",
    "diagnose",
    "host_addresses",
    "node_port",
    "ready_pods",
    "resize_problem",
    "rolled_out",
    "summary",
]

_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_NO_CONTAINER = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_LOAD_IMAGE = "load it into the node (K3s: `k3s ctr images import FILE`), or correct the image's name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a rollout fails. ``pod``: whose log may say more, ``previous``: the log of the container before the last."""

    message: str
    pod: str | None = None
    previous: bool = False


def rolled_out(deployments: Sequence[Manifest]) -> bool:
    """Tell whether every replica of every Deployment is of the present version and takes requests."""
    return bool(deployments) and all(_complete(item) for item in deployments)


def diagnose(objects: Sequence[Manifest], events: Sequence[Manifest]) -> Problem | None:
    """Return why the rollout of ``objects`` (Deployments, ReplicaSets, Pods) cannot succeed, None while it may."""
    pods = _of(objects, "Pod")
    for pod in pods:
        if problem := _of_pod(pod, events):
            return problem
    for item in (*_of(objects, "Deployment"), *_of(objects, "ReplicaSet")):
        failure = _condition(item, "ReplicaFailure")
        # What is refused only for now (a service account that is being made) the cluster tries again by itself.
        if failure.get("status") == "True" and re.search("exceeded quota|violates PodSecurity|denied", _text(failure)):
            which = "a quota" if "exceeded quota" in _text(failure) else "a policy of the cluster"
            return Problem(
                message=f"{which} forbids the pods of {item['metadata']['name']}: {_text(failure)}; change the "
                "overlay or this restriction"
            )
        progress = _condition(item, "Progressing")
        if progress.get("status") == "False" and progress.get("reason") == "ProgressDeadlineExceeded":
            late = next((pod["metadata"]["name"] for pod in pods if not _is_ready(pod)), None)
            return Problem(message=f"the rollout made no progress for too long: {_text(progress)}", pod=late)
    return None


def summary(objects: Sequence[Manifest], events: Sequence[Manifest]) -> str:
    """Return one line: how many pods are ready, and the last thing that happened."""
    pods = _of(objects, "Pod")
    wanted = sum(int(item["spec"].get("replicas", 1)) for item in _of(objects, "Deployment"))
    last = describe_events_about(events, objects)[-1:]
    return "; ".join([f"{sum(map(_is_ready, pods))} of {wanted} pods ready", *last])


def describe_events_about(
    events: Sequence[Manifest], objects: Sequence[Manifest], *, warnings: bool = False
) -> list[str]:
    """Return what happened to ``objects``, one line each, the latest last; ``warnings``: only what went wrong."""
    names = {(item["kind"], item["metadata"]["name"]) for item in objects}
    found = [
        event
        for event in events
        if (event["involvedObject"].get("kind"), event["involvedObject"].get("name")) in names
        and not (warnings and event.get("type") != "Warning")
    ]
    return describe_events(found)


def describe_events(events: Iterable[Manifest]) -> list[str]:
    """Return events as words, one line each, the latest last."""
    return [f"{event.get('reason')}: {_text(event)}" for event in sorted(events, key=_when)]


def ready_pods(pods: Iterable[Manifest]) -> list[str]:
    """Return the names of the pods that take requests."""
    return [pod["metadata"]["name"] for pod in pods if _is_ready(pod)]


def resize_problem(pod: Manifest) -> str:
    """Return why the node does not give a pod its new resources, after a colon; empty if it does not say."""
    found = (_condition(pod, kind) for kind in ("PodResizePending", "PodResizeInProgress"))
    lines = [f"{condition.get('reason') or 'in progress'}, {_text(condition)}" for condition in found if condition]
    return f": {lines[0]}" if lines else ""


def node_port(service: Manifest) -> int | None:
    """Return the port on every node that leads to the Service, None if it has none."""
    ports: list[int] = [port["nodePort"] for port in service["spec"].get("ports", []) if port.get("nodePort")]
    return ports[0] if ports else None


def host_addresses(pods: Iterable[Manifest]) -> list[str]:
    """Return the internal addresses of the nodes that the pods run on, as they stand in a URL."""
    found = dict.fromkeys(pod.get("status", {}).get("hostIP") for pod in pods)
    return [f"[{address}]" if ":" in address else address for address in found if address]


def _of_pod(pod: Manifest, events: Sequence[Manifest]) -> Problem | None:
    name = pod["metadata"]["name"]
    if pod["metadata"].get("deletionTimestamp"):
        return None
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        # A cluster that grows says so; a node will come.
        if any("TriggeredScaleUp" in line for line in describe_events_about(events, [pod])):
            return None
        return Problem(
            message=f"no node accepts pod {name}: {_text(scheduled)}; lower the requests or replicas in the overlay, "
            "or free resources on a node"
        )
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and status.get("reason"):
        return Problem(message=f"pod {name} was ended: {status['reason']}: {_text(status)}", pod=name)
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        if problem := _of_container(container, pod, events):
            return problem
    return None


def _of_container(container: Manifest, pod: Manifest, events: Sequence[Manifest]) -> Problem | None:
    waiting: dict[str, Any] = container.get("state", {}).get("waiting") or {}
    reason, name = waiting.get("reason"), pod["metadata"]["name"]
    if reason in _NO_IMAGE:
        # The event says what went wrong; the state, on the second attempt, only that there will be a third.
        lines = [line for line in describe_events_about(events, [pod], warnings=True) if "pull" in line.lower()]
        why = next((line for line in lines if "Back-off" not in line and "Error: " not in line), _text(waiting))
        return Problem(message=f"the image {container.get('image')} is not available ({reason}): {why}; {_LOAD_IMAGE}")
    if reason in _NO_CONTAINER:
        return Problem(message=f"the container of pod {name} cannot be started ({reason}): {_text(waiting)}")
    if reason == "CrashLoopBackOff":
        last: dict[str, Any] = container.get("lastState", {}).get("terminated") or {}
        how = f"exit status {last.get('exitCode', 'unknown')}"
        if last.get("reason") == "OOMKilled":
            how += ", out of memory: raise its memory limit"
        lines = [line for line in describe_events_about(events, [pod], warnings=True) if line.startswith("Unhealthy")]
        probe = f"; {lines[-1]}" if lines else ""
        return Problem(
            message=f"the container of pod {name} crashes repeatedly ({how}; {container.get('restartCount', 0)} "
            f"restarts{probe})",
            pod=name,
            previous=True,
        )
    return None


def _complete(item: Manifest) -> bool:
    status, wanted = item.get("status", {}), item["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= item["metadata"].get("generation", 0)
    counts = (status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas"))
    return bool(seen) and all(count == wanted for count in counts)


def _is_ready(pod: Manifest) -> bool:
    return _condition(pod, "Ready").get("status") == "True" and not pod["metadata"].get("deletionTimestamp")


def _condition(item: Manifest, kind: str) -> dict[str, Any]:
    conditions: Iterator[dict[str, Any]] = iter(item.get("status", {}).get("conditions") or ())
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def _of(objects: Sequence[Manifest], kind: str) -> list[Manifest]:
    return [item for item in objects if item["kind"] == kind]


def _text(item: Manifest) -> str:
    return " ".join(str(item.get("message") or "(no message)").split())


def _when(event: Manifest) -> str:
    # RFC 3339 in UTC sorts as text. Which of the three is set depends on who wrote the event.
    metadata = event.get("metadata", {})
    return str(event.get("lastTimestamp") or event.get("eventTime") or metadata.get("creationTimestamp") or "")
