"""The deployment kind ``kubernetes`` on a real cluster: boots, failures as the cluster tells them, and what is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from pytest_inferbench.deployment.kubernetes.leftovers import find_leftovers
from pytest_inferbench.deployment.kubernetes.manifests import BOOT_LABEL
from pytest_inferbench.errors import DeploymentError

OVERLAYS = Path(__file__).parents[2] / "service" / "k3s" / "overlays"
KINDS = "deployments,replicasets,pods,services,poddisruptionbudgets"


def of_boot(kubectl, name):
    """Return everything in the cluster that belongs to one boot."""
    return kubectl.get(KINDS, f"--selector={BOOT_LABEL}={name}")


def classify(url):
    """Ask the service one question."""
    return httpx.post(f"{url}/classify", json={"text": "what a lovely day"}, timeout=30, trust_env=False)


@pytest.mark.parametrize(("overlay", "replicas"), [("one-replica", 1), ("two-replicas", 2)])
def test_the_service_boots_answers_and_leaves_nothing(boot, kubectl, overlay, replicas):
    """Each overlay rolls out, answers through the node's port, and is gone with its pods after stop."""
    service = boot(overlay=OVERLAYS / overlay)
    service.boot(lambda seconds, line: print(f"{seconds:5.1f} s  {line}"))
    print(service.route)
    assert len(service.pods()) == replicas
    answer = classify(service.url)
    assert answer.status_code == 200
    assert answer.json()["label"] in ("negative", "neutral", "positive")
    assert "infer" in answer.headers["server-timing"]
    assert service.alive
    assert service.log_tail()
    service.stop()
    assert of_boot(kubectl, service.boot_name) == []


def test_an_image_that_no_node_has_is_told_at_once(boot):
    """A wrong image ends the boot with the kubelet's words, long before its time is up."""
    service = boot(image="localhost/there-is-no-such-image:1", timeout=600.0)
    with pytest.raises(DeploymentError, match=r"there-is-no-such-image:1 is not available \(\w+\): .+"):
        service.boot()


def test_a_pod_that_no_node_can_take_is_told_with_the_reason(boot, tmp_path):
    """Requests beyond any node end the boot with the scheduler's words."""
    overlay = tmp_path / "greedy"
    overlay.mkdir()
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/resources/limits/memory", "value": "9000Gi"}]
    patch += [
        {"op": "replace", "path": "/spec/template/spec/containers/0/resources/requests/memory", "value": "9000Gi"}
    ]
    kustomization = {
        "resources": [os.path.relpath((OVERLAYS / "one-replica").resolve(), overlay.resolve())],
        "patches": [{"target": {"kind": "Deployment"}, "patch": json.dumps(patch)}],
    }
    (overlay / "kustomization.yaml").write_text(json.dumps(kustomization))
    with pytest.raises(DeploymentError, match=r"no node accepts pod .*Insufficient memory"):
        boot(overlay=overlay, timeout=600.0).boot()


def test_a_service_that_ends_again_and_again_is_told_with_its_log(boot):
    """A profile that the service refuses ends the boot with the service's own words."""
    service = boot(runtime={"engine": "no-such-engine"}, timeout=600.0)
    with pytest.raises(DeploymentError, match=r"crashes repeatedly(.|\n)*no-such-engine"):
        service.boot()


def test_a_quota_that_is_exceeded_is_told(boot, kubectl, session):
    """The pods that a quota keeps from being made: at once, with the cluster's words."""
    session.require_namespace(kubectl, None)
    kubectl.run("create", "quota", "small", "--hard=requests.cpu=100m,limits.cpu=100m")
    try:
        with pytest.raises(DeploymentError, match=r"a quota does not allow the pods of .*exceeded quota: small"):
            boot(timeout=600.0).boot()
    finally:
        kubectl.run("delete", "quota", "small")


def test_a_context_that_is_not_known_is_told_with_those_that_are(boot):
    """The kubeconfig's own contexts are named."""
    with pytest.raises(DeploymentError, match="the kubeconfig has no context 'nowhere' \\(known: "):
        boot(context="nowhere").boot()


def test_a_cluster_that_does_not_answer_is_told(boot, tmp_path, monkeypatch):
    """A kubeconfig that leads to a port where nobody listens."""
    cluster = {"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    config = {
        "clusters": [cluster],
        "contexts": [context],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **config}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(DeploymentError, match=r"cannot be reached: .*connection"):
        boot(context="x").boot()


def test_a_node_port_that_is_taken_is_told(boot, kubectl, tmp_path):
    """Two Services that fix the same port: the second boot names the port and the way out."""
    overlay = tmp_path / "fixed"
    overlay.mkdir()
    first = boot()
    first.boot()
    (service,) = kubectl.get("services", f"--selector={BOOT_LABEL}={first.boot_name}")
    patch = [{"op": "add", "path": "/spec/ports/0/nodePort", "value": service["spec"]["ports"][0]["nodePort"]}]
    kustomization = {
        "resources": [os.path.relpath((OVERLAYS / "one-replica").resolve(), overlay.resolve())],
        "patches": [{"target": {"kind": "Service"}, "patch": json.dumps(patch)}],
    }
    (overlay / "kustomization.yaml").write_text(json.dumps(kustomization))
    second = boot(overlay=overlay)
    with pytest.raises(DeploymentError, match="NodePort in the overlay is already in use"):
        second.boot()
    second.stop()
    assert of_boot(kubectl, second.boot_name) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from pytest_inferbench.deployment.kubernetes.session import ClusterSession
from pytest_inferbench.deployment.kubernetes.service import KubernetesService
from pytest_inferbench.config.profile import DeploymentSpec, Profile
context, namespace, image, overlay, folder = sys.argv[1:]
spec = DeploymentSpec(
    kind="kubernetes", overlay="x", context=context or None, namespace=namespace, image=image
)
service = KubernetesService(
    Profile("test", {"engine": "onnxruntime", "precision": "int8"}, {}, spec),
    overlay=Path(overlay), ready="/readyz", boot_timeout=300.0, session=ClusterSession(), folder=Path(folder),
)
service.boot()
print(service.boot_name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_session_that_is_killed_leaves_nothing(kubectl, session, image, tmp_path):
    """SIGKILL in the middle of a run: what it made is removed all the same, by a process that outlives it."""
    words = [kubectl.context or "", kubectl.namespace, image, str(OVERLAYS / "one-replica"), str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    name = done.stdout.strip()
    deadline = time.monotonic() + 180
    while of_boot(kubectl, name):
        assert time.monotonic() < deadline, "the objects of a killed session are still there"
        time.sleep(1)
    assert not [left for left in find_leftovers(kubectl, session.run) if name.startswith(left.run)]


def test_what_a_lost_machine_leaves_is_offered_and_removed_on_demand(boot, kubectl, session, image, tmp_path):
    """Pytest and its helper are gone: the next session names the objects, `leftovers --delete` removes just them."""
    ours = boot()
    ours.boot()
    words = [kubectl.context or "", kubectl.namespace, image, str(OVERLAYS / "one-replica"), str(tmp_path)]
    lost = KILLED.replace("os.kill(os.getpid()", "service.session._helper.kill()\nos.kill(os.getpid()")
    done = subprocess.run([sys.executable, "-c", lost, *words], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    name = done.stdout.strip()
    (left,) = [left for left in find_leftovers(kubectl, session.run) if name.startswith(left.run)]
    assert left.gone
    offer = left.offer(kubectl)
    assert "which was killed; remove them with: kubectl" in offer
    print(offer)
    context = ["--context", kubectl.context] if kubectl.context else []
    words = [*context, "--namespace", kubectl.namespace]
    module = [sys.executable, "-m", "pytest_inferbench.deployment.kubernetes.leftovers", *words]
    assert name.rpartition("-")[0] in subprocess.run(module, capture_output=True, text=True, check=False).stdout
    removed = subprocess.run([*module, "--delete"], capture_output=True, text=True, check=False)
    assert f"of session {left.run}" in removed.stdout
    deadline = time.monotonic() + 180
    while of_boot(kubectl, name):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert ours.alive
    assert classify(ours.url).status_code == 200
