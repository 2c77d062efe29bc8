"""Profiles of kind ``kubernetes``: what they may say, and what the service is told of it."""

from __future__ import annotations

import json

import pytest

from pytest_inferbench.config.profile import DeploymentSpec, resolve_profile
from pytest_inferbench.errors import ConfigurationError

OVERLAY = {"kind": "kubernetes", "overlay": "service/k3s/overlays/one-replica"}


def test_only_the_overlay_is_needed() -> None:
    """Without more, the kubeconfig's current context, our namespace, and the overlay's own image and replicas."""
    spec = DeploymentSpec.from_table(OVERLAY, where="x")
    assert (spec.context, spec.namespace, spec.image, spec.replicas) == (None, "inferbench", None, None)


def test_everything_can_be_said() -> None:
    """Each key of the table is the field of that name."""
    table = {**OVERLAY, "context": "lab", "namespace": "bench", "image": "r/x:1", "replicas": 2, "workers": 3}
    spec = DeploymentSpec.from_table(table, where="x")
    assert {name: getattr(spec, name) for name in table} == table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "kubernetes"}, "overlay: kind 'kubernetes' needs the folder of a kustomization"),
        ({**OVERLAY, "affinity": [0]}, "affinity: goes with kind 'local', and this is 'kubernetes'"),
        ({"replicas": 2}, "replicas: goes with kind 'kubernetes', and this is 'local'"),
        ({**OVERLAY, "namespace": "In_Valid"}, "namespace: expected a name of small letters"),
        ({**OVERLAY, "namespace": "a" * 64}, "namespace: expected"),
        ({**OVERLAY, "namespace": 3}, "namespace: expected"),
        ({**OVERLAY, "image": ""}, "image: expected a non-empty string, got ''"),
        ({**OVERLAY, "context": 1}, "context: expected a non-empty string, got 1"),
        ({**OVERLAY, "replicas": 0}, "replicas: expected a whole number from 1 to 1000"),
        ({"kind": ["kubernetes"]}, "kind: .* is not supported; use 'local' or 'kubernetes'"),
        ({**OVERLAY, "replica": 1}, "unknown key 'replica'; did you mean 'replicas'"),
    ],
)
def test_a_mistake_names_its_place(table: dict[str, object], message: str) -> None:
    """Each mistake is one ConfigurationError that names the key."""
    with pytest.raises(ConfigurationError, match=f"x.*{message}"):
        DeploymentSpec.from_table(table, where="x")


def test_the_service_is_told_of_its_deployment() -> None:
    """The JSON for the service has the keys of this kind, and not those of the other."""
    profile = resolve_profile("a", {"a": {"deployment": OVERLAY}}, where="x")
    told = json.loads(profile.to_json())["deployment"]
    assert told == {
        **OVERLAY,
        "workers": 1,
        "context": None,
        "namespace": "inferbench",
        "image": None,
        "replicas": None,
    }


def test_a_profile_in_a_cluster_extends_any_other() -> None:
    """Runtime and service come from the profile it extends: only the deployment differs."""
    tables = {"fast": {"runtime": {"engine": "onnxruntime"}}, "k3s": {"extends": "fast", "deployment": OVERLAY}}
    profile = resolve_profile("k3s", tables, where="x")
    assert profile.runtime == {"engine": "onnxruntime"}
    assert profile.deployment.kind == "kubernetes"
