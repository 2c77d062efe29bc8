"""The shipped overlays through the real kubectl, offline: what would be created for one boot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import kubernetes_validate
import pytest

from pytest_inferbench.config.profile import DeploymentSpec
from pytest_inferbench.deployment.kubernetes.kubectl import Kubectl
from pytest_inferbench.deployment.kubernetes.manifests import BOOT_LABEL, RUN_LABEL, adapt, render, resource, served

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders the overlays, and is missing")

OVERLAYS = Path(__file__).parents[3] / "service" / "k3s" / "overlays"


@pytest.fixture
def objects(tmp_path, monkeypatch):
    """What the two-replica overlay renders to for boot 1a2b-1, with a profile's image in it."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "there-is-none"))
    spec = DeploymentSpec(kind="kubernetes", overlay="x", image="localhost/other:2")
    kubectl = Kubectl(None, "bench")
    rendered = render(kubectl, OVERLAYS / "two-replicas", tmp_path, run="1a2b", boot="1a2b-1", owner={"pid": 1})
    return adapt(rendered, spec, {"INFERBENCH_PROFILE": '{"name": "x"}'})


def test_what_would_be_created_is_valid(objects):
    """After names, labels, image and environment have been put in, every object still fits its schema."""
    assert sorted(map(resource, objects)) == [
        "Deployment.apps/sentiment-1a2b-1",
        "PodDisruptionBudget.policy/sentiment-1a2b-1",
        "Service/sentiment-1a2b-1",
    ]
    for item in objects:
        kubernetes_validate.validate(item, "1.33", strict=True)


def test_everything_is_of_this_boot(objects):
    """Namespace, labels and every selector are those of the boot, whatever kubectl's version of kustomize does."""
    labels = {RUN_LABEL: "1a2b", BOOT_LABEL: "1a2b-1"}.items()
    for item in objects:
        assert item["metadata"]["namespace"] == "bench"
        assert labels <= item["metadata"]["labels"].items()
        selector = item["spec"]["selector"]
        assert labels <= selector.get("matchLabels", selector).items()
    _, deployment = served(objects)
    assert labels <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_image_and_environment_reach_the_container(objects):
    """The container under test runs the profile's image and is told the profile."""
    (container,) = served(objects)[1]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "localhost/other:2"
    (variable,) = [item for item in container["env"] if item["name"] == "INFERBENCH_PROFILE"]
    assert json.loads(variable["value"]) == {"name": "x"}


def test_a_plain_file_of_manifests_will_do(tmp_path, monkeypatch):
    """Whoever has one YAML file and no kustomization gives that as the overlay."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "there-is-none"))
    base = OVERLAYS.parent / "base"
    path = tmp_path / "mine" / "all.yaml"
    path.parent.mkdir()
    path.write_text("---\n".join((base / name).read_text() for name in ("service.yaml", "deployment.yaml")))
    found = render(Kubectl(None, "bench"), path, tmp_path, run="1a2b", boot="1a2b-1", owner={})
    assert [item["metadata"]["name"] for item in found] == ["sentiment-1a2b-1"] * 2
