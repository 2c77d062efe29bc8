"""service/k3s: what is applied to a cluster, held against the Kubernetes schemas and the promises of the manifests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

K3S = Path(__file__).parents[2] / "service" / "k3s"
BASE = K3S / "base"
OVERLAYS = {"one-replica": 1, "two-replicas": 2}
#: From the oldest release whose schemas the validator has. (policy/v1, the youngest interface used, came with 1.21.)
RELEASES = ("1.25", "1.29", "1.33", "1.37")

needs_kustomize = pytest.mark.skipif(shutil.which("kubectl") is None, reason="rendering an overlay takes kubectl")

Manifest = dict[str, Any]


def written() -> list[Manifest]:
    """Return the objects of the base, as written."""
    names = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    return [yaml.safe_load((BASE / name).read_text(encoding="utf-8")) for name in names]


def rendered(overlay: str) -> list[Manifest]:
    """Return the objects of an overlay, as kubectl would apply them."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(K3S / "overlays" / overlay)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def one(objects: list[Manifest], kind: str) -> Manifest:
    """Return the only object of a kind."""
    (found,) = [item for item in objects if item["kind"] == kind]
    return found


@pytest.fixture
def pod() -> Manifest:
    """The pods that the Deployment asks for."""
    spec: Manifest = one(written(), "Deployment")["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: Manifest) -> Manifest:
    """Their only container."""
    (found,) = pod["containers"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("release", RELEASES)
def test_every_manifest_fits_the_schema_of_each_release(release: str) -> None:
    """No unknown or misspelled field, none missing and none of the wrong type."""
    for item in written():
        assert kubernetes_validate.validate(item, release, strict=True) == release


def test_the_schema_check_can_fail() -> None:
    """A field that Kubernetes does not know is refused: the test above is not empty."""
    deployment = one(written(), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(deployment, RELEASES[-1], strict=True)


def test_every_file_of_the_base_is_applied() -> None:
    """No manifest lies in the base without being listed."""
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert sorted(path.name for path in BASE.iterdir()) == sorted([*listed, "kustomization.yaml"])


@needs_kustomize
@pytest.mark.parametrize(("overlay", "replicas"), OVERLAYS.items())
def test_an_overlay_differs_in_its_replicas_only(overlay: str, replicas: int) -> None:
    """Two overlays compare one replica with two, and nothing else with anything else."""
    objects, plain = rendered(overlay), written()
    assert one(objects, "Deployment")["spec"].pop("replicas") == replicas
    one(plain, "Deployment")["spec"].pop("replicas")
    for item in objects:
        item["metadata"].pop("namespace", None)
    by_kind = {item["kind"]: item for item in objects}
    assert by_kind == {item["kind"]: item for item in plain}


@needs_kustomize
def test_everything_lands_in_one_namespace() -> None:
    """The namespace that is made is the one that everything else is put into."""
    objects = rendered("two-replicas")
    name = one(objects, "Namespace")["metadata"]["name"]
    assert {item["metadata"]["namespace"] for item in objects if item["kind"] != "Namespace"} == {name}


def test_the_selectors_select_the_pods() -> None:
    """Deployment, Service and disruption budget select the labels that the pods carry."""
    objects = written()
    labels = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert one(objects, "Deployment")["spec"]["selector"]["matchLabels"].items() <= labels
    assert one(objects, "Service")["spec"]["selector"].items() <= labels
    assert one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels


@pytest.mark.parametrize(
    ("probe", "path"), [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")]
)
def test_every_probe_asks_the_endpoint_that_the_service_has_for_it(container: Manifest, probe: str, path: str) -> None:
    """Startup and readiness ask whether requests can be taken, liveness only whether anybody is there."""
    assert container[probe]["httpGet"] == {"path": path, "port": "http"}


def test_the_probes_find_the_port_of_the_service(container: Manifest) -> None:
    """The port's name leads from the Service and the probes to the port that the container listens on."""
    (port,) = container["ports"]
    (served,) = one(written(), "Service")["spec"]["ports"]
    assert port["name"] == served["targetPort"] == "http"
    containerfile = (K3S / "Containerfile").read_text(encoding="utf-8")
    assert f'"--port", "{port["containerPort"]}"' in containerfile


def test_overload_is_not_taken_for_death(container: Manifest) -> None:
    """Liveness gives up after a minute at the earliest, and not before the service has started."""
    probe = container["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60
    assert "startupProbe" in container


def test_requests_and_limits_are_set(container: Manifest) -> None:
    """The scheduler knows what a pod needs, and the node what it may take at most."""
    for resource in ("cpu", "memory", "ephemeral-storage"):
        assert container["resources"]["requests"][resource]
        assert container["resources"]["limits"][resource]


def test_the_pod_runs_as_nobody_special(pod: Manifest, container: Manifest) -> None:
    """Not root and no way to become it, no capabilities, no token for the cluster, and only the usual system calls."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 1000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_only_a_bounded_scratch_folder_can_be_written(pod: Manifest, container: Manifest) -> None:
    """The root file system is read-only, and what the service writes goes into a volume with a limit."""
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount == {"name": volume["name"], "mountPath": "/tmp"}
    assert volume["emptyDir"]["sizeLimit"]


def test_a_rolling_update_leaves_no_gap() -> None:
    """A pod goes only once its successor is ready."""
    strategy = one(written(), "Deployment")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def test_termination_lets_requests_finish(pod: Manifest, container: Manifest) -> None:
    """New connections end first; after that there is time for the longest request that the service allows (60 s)."""
    *_, script = container["lifecycle"]["preStop"]["exec"]["command"]
    seconds = float(script.partition("sleep(")[2].rstrip(")"))
    assert seconds >= 3
    assert pod["terminationGracePeriodSeconds"] >= seconds + 60


def test_a_drain_is_never_blocked() -> None:
    """The disruption budget protects the second replica, and lets a drain take the only one."""
    assert one(written(), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_the_service_gets_a_free_port_of_the_node() -> None:
    """No NodePort is fixed, so that two installations do not want the same."""
    spec = one(written(), "Service")["spec"]
    assert spec["type"] == "NodePort"
    assert not any("nodePort" in port for port in spec["ports"])


def test_nothing_is_pulled_where_the_image_is_already_there(container: Manifest) -> None:
    """The image has a version, and is pulled only if the node lacks it: a node without a registry can run it."""
    name, _, tag = container["image"].rpartition(":")
    assert name
    assert tag not in ("", "latest")
    assert container["imagePullPolicy"] == "IfNotPresent"
