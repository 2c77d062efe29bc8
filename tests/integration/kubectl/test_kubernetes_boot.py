"""The deployment kind ``kubernetes``, driven through a stand-in for kubectl: no cluster is needed, none is touched."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stand_in_cluster import LABELS, OVERLAY, Cluster

from pytest_inferbench.deployment.kubernetes import leftovers
from pytest_inferbench.deployment.kubernetes.manifests import BOOT_LABEL, OWNER_ANNOTATION, RUN_LABEL
from pytest_inferbench.errors import DeploymentError


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    """The status of a pod whose container waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": "service", "image": "localhost/sentiment:1", "state": state, **more}]}


#: A Deployment of which nothing is there yet.
NOT_YET = {"observedGeneration": 1}


def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds; the deadline only ends a test that has failed anyway."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.05)


def kinds(objects: list[dict[str, Any]]) -> list[str]:
    return sorted(item["kind"] for item in objects)


def test_a_boot_ends_with_a_url_that_answers(cluster: Cluster, server: Any) -> None:
    """After boot the URL is the NodePort of the node that the pod runs on, and the service is alive."""
    service = cluster.service()
    service.boot()
    assert service.url == f"http://127.0.0.1:{server.port}"
    assert service.route == f"NodePort {server.port} of node 127.0.0.1"
    assert service.alive
    assert service.boot_seconds > 0
    service.stop()


def test_what_a_boot_makes_bears_its_name_and_selects_only_itself(cluster: Cluster) -> None:
    """Names and labels are the boot's own, in selectors too: two boots in one namespace do not meet."""
    service = cluster.service()
    service.boot()
    made = [item for item in cluster.objects if item["kind"] in ("Deployment", "Service")]
    label = {BOOT_LABEL: service.boot_name, RUN_LABEL: cluster.session.run}
    assert kinds(made) == ["Deployment", "Service"]
    for item in made:
        assert item["metadata"]["name"] == f"sentiment-{service.boot_name}"
        assert label.items() <= item["metadata"]["labels"].items()
        assert json.loads(item["metadata"]["annotations"][OWNER_ANNOTATION])["pid"] == os.getpid()
        selector = item["spec"]["selector"]
        assert label.items() <= selector.get("matchLabels", selector).items()
    service.stop()


def test_the_profile_decides_on_image_replicas_and_environment(cluster: Cluster) -> None:
    """Image and replicas are replaced, the service is told its profile, and the rest of its environment stays."""
    service = cluster.service(image="localhost/sentiment:2", replicas=3)
    service.boot()
    (deployment,) = [item for item in cluster.objects if item["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    variables = {item["name"]: item["value"] for item in container["env"]}
    assert deployment["spec"]["replicas"] == 3
    assert container["image"] == "localhost/sentiment:2"
    assert json.loads(variables["INFERBENCH_PROFILE"])["runtime"] == {"engine": "torch"}
    assert variables["OTHER"] == "kept"
    service.stop()


def test_without_them_the_overlay_decides(cluster: Cluster) -> None:
    """A profile that names neither image nor replicas leaves the overlay's."""
    service = cluster.service()
    service.boot()
    (deployment,) = [item for item in cluster.objects if item["kind"] == "Deployment"]
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "localhost/sentiment:1"
    service.stop()


def test_every_command_goes_to_the_context_and_namespace_of_the_profile(cluster: Cluster) -> None:
    """No command that the cluster hears goes anywhere else; those for namespaces name no namespace."""
    service = cluster.service(context="staging", namespace="bench")
    service.boot()
    service.stop()
    for call in cluster.calls:
        words = call["arguments"]
        if words[0] in ("kustomize", "annotate"):
            continue
        assert words[:2] == ["--context", "staging"]
        assert words[2:4] == ["--namespace", "bench"] or "namespace" in words or '"Namespace"' in call["stdin"]


def test_stopping_removes_what_was_made_and_nothing_else(cluster: Cluster) -> None:
    """Another Deployment in the namespace, of the same app, outlives the boot."""
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "sentiment", "labels": LABELS}}
    cluster.holds({"kind": "Namespace", "metadata": {"name": "inferbench"}}, other)
    service = cluster.service()
    service.boot()
    service.stop()
    service.stop()
    assert kinds(cluster.objects) == ["Deployment", "Namespace"]
    assert other in cluster.objects
    assert cluster.verbs.count("delete") == 1


def test_a_namespace_that_was_missing_is_made_and_goes_with_the_session(cluster: Cluster) -> None:
    """It has the labels of the overlay's own, stays between boots, and is gone when the session is closed."""
    service = cluster.service(namespace="bench")
    service.boot()
    (made,) = [item for item in cluster.objects if item["kind"] == "Namespace"]
    assert made["metadata"]["name"] == "bench"
    assert made["metadata"]["labels"] == {"level": "restricted", RUN_LABEL: cluster.session.run}
    service.stop()
    assert kinds(cluster.objects) == ["Namespace"]
    cluster.session.close()
    assert cluster.objects == []


def test_a_namespace_in_which_somebody_else_has_settled_stays(cluster: Cluster) -> None:
    """A namespace that this session made is not removed with another one's objects in it."""
    service = cluster.service()
    service.boot()
    service.stop()
    cluster.holds(*cluster.objects, {"kind": "Service", "metadata": {"name": "theirs"}})
    cluster.session.close()
    assert kinds(cluster.objects) == ["Namespace", "Service"]


def test_a_namespace_that_was_there_stays(cluster: Cluster) -> None:
    """A namespace that this session did not make is not touched."""
    cluster.holds({"kind": "Namespace", "metadata": {"name": "inferbench"}})
    service = cluster.service()
    service.boot()
    service.stop()
    cluster.session.close()
    assert cluster.objects == [{"kind": "Namespace", "metadata": {"name": "inferbench"}}]


def test_a_user_who_may_not_see_namespaces_or_events_can_still_boot(cluster: Cluster) -> None:
    """Rights to the namespace's own objects are enough."""
    no = 'Error from server (Forbidden): {0} is forbidden: User "ci" cannot list resource "{0}"'
    cluster.plays(refuse={"get namespace": no.format("namespaces"), "get events": no.format("events")})
    service = cluster.service()
    service.boot()
    service.stop()
    assert "create" in cluster.verbs


PULL = {
    "type": "Warning",
    "reason": "Failed",
    "message": 'Failed to pull image "localhost/sentiment:1": dial tcp [::1]:443: connect: connection refused',
}


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (
            {"pod": waiting("ErrImagePull", "rpc error"), "events": [PULL]},
            r"localhost/sentiment:1 is not available \(ErrImagePull\): Failed: Failed to pull .* refused; load it",
        ),
        (
            {"pod": waiting("ImagePullBackOff", "Back-off pulling image"), "events": [PULL]},
            r"\(ImagePullBackOff\): Failed: Failed to pull image",
        ),
        (
            {"pod": waiting("ErrImageNeverPull", "Container image is not present with pull policy of Never")},
            r"\(ErrImageNeverPull\): Container image is not present",
        ),
        (
            {"pod": waiting("CreateContainerConfigError", 'secret "token" not found')},
            r'cannot be started \(CreateContainerConfigError\): secret "token" not found',
        ),
        (
            {
                "pod": waiting(
                    "CrashLoopBackOff", restartCount=2, lastState={"terminated": {"exitCode": 1, "reason": "Error"}}
                ),
                "previous_log": "service: error: no such engine",
            },
            r"crashes repeatedly \(exit status 1; 2 restarts\)(.|\n)*\| service: error: no such engine",
        ),
        (
            {
                "pod": waiting(
                    "CrashLoopBackOff",
                    restartCount=1,
                    lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                )
            },
            r"exit status 137, out of memory: raise its memory limit",
        ),
        (
            {
                "pod": {
                    "conditions": [
                        {
                            "type": "PodScheduled",
                            "status": "False",
                            "reason": "Unschedulable",
                            "message": "0/1 nodes are available: 1 Insufficient cpu.",
                        }
                    ]
                }
            },
            r"no node accepts pod sentiment-\S+: 0/1 nodes are available: 1 Insufficient cpu",
        ),
        (
            {
                "pod": {},
                "deployment": {
                    "conditions": [
                        {
                            "type": "ReplicaFailure",
                            "status": "True",
                            "message": 'pods "x" is forbidden: exceeded quota: small, requested: cpu=500m, used: cpu=0',
                        }
                    ]
                },
            },
            r"a quota forbids the pods of sentiment-\S+: .*exceeded quota: small",
        ),
    ],
    ids=["pull", "pull-again", "never-pull", "config", "crash", "memory", "unschedulable", "quota"],
)
def test_a_rollout_that_cannot_succeed_fails_at_once(cluster: Cluster, scenario: Any, message: str) -> None:
    """Each cause is told in the cluster's own words, long before the boot's time is up, and nothing is left behind."""
    cluster.plays(**{"deployment": NOT_YET, **scenario})
    service = cluster.service(boot_timeout=3600)
    with pytest.raises(DeploymentError) as caught:
        service.boot()
    assert re.search(message, str(caught.value)), str(caught.value)
    service.stop()
    assert kinds(cluster.objects) == ["Namespace"]


def test_a_rollout_that_takes_too_long_says_how_far_it_came(cluster: Cluster) -> None:
    """The boot's time is up: the message has the state of the pods, what happened last, and the end of the log."""
    event = {"type": "Normal", "reason": "Started", "message": "Started container service"}
    cluster.plays(deployment=NOT_YET, pod={"phase": "Running"}, events=[event], log="building a model, 40 %")
    service = cluster.service(boot_timeout=0.3)
    with pytest.raises(DeploymentError, match=r"not rolled out after 0.3 s \(0 of 1 pods ready; Started") as caught:
        service.boot()
    assert "| building a model, 40 %" in str(caught.value)
    service.stop()


def test_progress_tells_what_the_cluster_does(cluster: Cluster) -> None:
    """While a rollout is under way, the observer hears how many pods are ready and what happened last."""
    event = {"type": "Normal", "reason": "Pulled", "message": "Container image already present on machine"}
    cluster.plays(deployment=NOT_YET, pod={"phase": "Running"}, events=[event])
    service = cluster.service(boot_timeout=60)

    def hear(_: float, line: str) -> None:
        if line == "0 of 1 pods ready; Pulled: Container image already present on machine":
            raise KeyboardInterrupt  # enough heard

    with pytest.raises(KeyboardInterrupt):
        service.boot(hear)
    service.stop()


@pytest.mark.parametrize(
    ("words", "refusal", "message"),
    [
        (
            "create",
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
            "NodePort in the overlay is already in use .*30080.*remove nodePort",
        ),
        (
            "create",
            'Error from server (Forbidden): services "x" is forbidden: exceeded quota: q',
            "a quota of the clus",
        ),
        (
            "get namespace",
            "Error in configuration: context was not found for specified context: default",
            r"no context 'default' \(known: default, staging\)",
        ),
        ("get namespace", "error: EOF", "does not accept the kubeconfig's credentials: error: EOF"),
        (
            "get namespace",
            'error: context "default" does not exist',
            r"no context 'default' \(known: default, staging\)",
        ),
        (
            "get namespace",
            "E1124 12:00:00.000000   71 memcache.go:265] couldn't get current server API group list\n"
            "The connection to the server localhost:8080 was refused - did you specify the right host or port?",
            "cannot be reached: The connection to the server localhost:8080 was refused.*k3s.yaml",
        ),
        ("create", "error: You must be logged in to the server (Unauthorized)", "does not accept .* credentials"),
        (
            "create",
            'Error from server (Forbidden): deployments.apps is forbidden: User "ci" cannot create resource',
            'forbids `kubectl --context default.* create.*User "ci" cannot create',
        ),
        (
            "get namespace",
            'error: error loading config file "/etc/rancher/k3s/k3s.yaml": open /etc/rancher/k3s/k3s.yaml: permission '
            "denied",
            "is not readable.*copy it",
        ),
    ],
)
def test_a_refusal_names_cause_and_remedy(cluster: Cluster, words: str, refusal: str, message: str) -> None:
    """What kubectl says becomes one error that tells what to do; the log lines before it do not get in the way."""
    cluster.plays(refuse={words: refusal})
    service = cluster.service(context="default")
    with pytest.raises(DeploymentError) as caught:
        service.boot()
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "memcache.go" not in str(caught.value)
    service.stop()


def test_without_kubectl_the_error_says_so(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No kubectl on the PATH is named as the cause."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(DeploymentError, match="there is no kubectl on the PATH"):
        cluster.service().boot()


def test_an_overlay_that_is_not_there_is_named(cluster: Cluster) -> None:
    """The path in the profile leads nowhere: the error has the path."""
    (cluster.folder / "overlay").rmdir()
    with pytest.raises(DeploymentError, match=r"deployment.overlay: .*/overlay does not exist"):
        cluster.service().boot()


def test_an_overlay_without_a_service_is_refused(cluster: Cluster) -> None:
    """Without a Service nothing can be measured: the error lists what the overlay has."""
    (cluster.folder / "overlay.json").write_text(json.dumps(OVERLAY[2:]), encoding="utf-8")
    with pytest.raises(DeploymentError, match=r"no Service in it selects a Deployment .*it has Deployment sentiment-"):
        cluster.service().boot()


def test_where_no_node_can_be_reached_a_port_forward_says_what_it_is(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way in through kubectl is labelled wherever it shows, ends with the boot, and its end is the service's."""
    monkeypatch.setattr("pytest_inferbench.deployment.kubernetes.service._NODE_SECONDS", 5.0)
    spec = OVERLAY[1]["spec"] | {"type": "ClusterIP"}
    (cluster.folder / "overlay.json").write_text(
        json.dumps([OVERLAY[1] | {"spec": spec}, OVERLAY[2]]), encoding="utf-8"
    )
    service = cluster.service()
    heard: list[str] = []
    service.boot(lambda _, line: heard.append(line))
    assert service.alive
    assert "port-forward" in service.route
    assert "only one pod, slower than a NodePort" in service.log_tail()
    assert any("falling back to kubectl port-forward" in line for line in heard)
    service.stop()
    assert "port-forward" in cluster.verbs


def test_the_log_tail_has_every_pod_and_the_warnings(cluster: Cluster) -> None:
    """What reports show of a service in a cluster: the end of each pod's log, and what the cluster warned of."""
    cluster.plays(log="handled 1 request", events=[{"type": "Warning", "reason": "Unhealthy", "message": "probe: 503"}])
    service = cluster.service(replicas=2)
    service.boot()
    tail = service.log_tail()
    assert [line for line in tail.splitlines() if line.startswith("[")] == [
        f"[sentiment-{service.boot_name}-{number}] handled 1 request" for number in range(2)
    ]
    assert "Unhealthy: probe: 503" in tail
    service.stop()


def test_a_service_without_a_ready_pod_is_not_alive(cluster: Cluster) -> None:
    """Once no pod takes requests, the service counts as dead; a cluster that does not answer says nothing."""
    service = cluster.service()
    service.boot()
    cluster.holds(*(item for item in cluster.objects if item["kind"] != "Pod"))
    assert not service.alive
    cluster.plays(refuse={"get pods": "The connection to the server 10.0.0.1:6443 was refused"})
    assert service.alive
    cluster.plays(refuse={})
    service.stop()


KILLED = """
import os, signal, sys
from pathlib import Path
from pytest_inferbench.deployment.kubernetes.session import ClusterSession
from pytest_inferbench.deployment.kubernetes.service import KubernetesService
from pytest_inferbench.config.profile import DeploymentSpec, Profile
folder = Path(os.environ["KUBECTL_STAND_IN"])
spec = DeploymentSpec(kind="kubernetes", overlay="overlay")
service = KubernetesService(
    Profile("baseline", {}, {}, spec), overlay=folder / "overlay", ready="/readyz", boot_timeout=30.0,
    session=ClusterSession(), folder=folder / "scratch",
)
service.boot()
print("booted", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_session_that_is_killed_leaves_nothing(cluster: Cluster) -> None:
    """SIGKILL in the middle of a run: a process that outlives it removes the objects and the namespace it made."""
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False)
    assert done.stdout == "booted\n", done.stderr
    assert done.returncode == -signal.SIGKILL
    until(lambda: cluster.objects == [])


def left(run: str, owner: Any, name: str = "sentiment-old") -> dict[str, Any]:
    """An object of another session."""
    metadata = {"name": name, "labels": {RUN_LABEL: run}, "annotations": {OWNER_ANNOTATION: json.dumps(owner)}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}


@pytest.fixture
def nobody() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_session_left_is_offered_for_removal(cluster: Cluster, nobody: int) -> None:
    """A left-over is named with the command that removes it, while booting and in the message if the boot fails."""
    owner = {**cluster.session.owner, "pid": nobody}
    cluster.holds({"kind": "Namespace", "metadata": {"name": "inferbench"}}, left("dead", owner))
    cluster.plays(deployment=NOT_YET, pod=waiting("ErrImagePull", "no"))
    service = cluster.service()
    heard: list[str] = []
    with pytest.raises(DeploymentError, match=f"session dead .*was killed; .*delete .*--selector={RUN_LABEL}=dead"):
        service.boot(lambda _, line: heard.append(line))
    assert any("left over: 1 objects of session dead" in line for line in heard)
    service.stop()
    assert left("dead", owner) in cluster.objects


def test_a_session_that_still_runs_here_is_no_left_over(cluster: Cluster) -> None:
    """The objects of a live session on this machine are nobody else's business."""
    cluster.holds(left("alive", cluster.session.owner))
    service = cluster.service()
    assert leftovers.find_leftovers(service.kubectl, "mine") == ()


def test_only_what_is_known_to_be_left_is_removed_on_demand(
    cluster: Cluster, nobody: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--delete`` removes the objects of a dead session of this machine, and only lists those of another machine."""
    dead = left("dead", {**cluster.session.owner, "pid": nobody}, "one")
    far = left("far", {**cluster.session.owner, "host": "elsewhere"}, "two")
    cluster.holds(dead, far)
    assert leftovers.main(["--delete"]) == 1
    assert cluster.objects == [far]
    said = capsys.readouterr().out
    assert "removed 1 objects of session dead" in said
    assert "session far" in said
    assert "may still be running" in said
    cluster.holds()
    assert leftovers.main([]) == 0
