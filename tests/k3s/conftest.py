"""Tests that a real cluster answers: run by ``tox run -e k3s``, and only there.

``INFERBENCH_K3S=1`` says that the cluster of the kubeconfig may be used: whoever has a kubeconfig and runs the test
suite has not said so. ``INFERBENCH_K3S_CONTEXT``: another context than its current one. ``INFERBENCH_K3S_IMAGE``:
another image than the manifests'. Everything happens in the namespace ``inferbench-test``.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_inferbench.config.profile import DeploymentSpec, Profile
from pytest_inferbench.deployment.kubernetes.kubectl import ClusterError, Kubectl
from pytest_inferbench.deployment.kubernetes.service import KubernetesService
from pytest_inferbench.deployment.kubernetes.session import ClusterSession

NAMESPACE = "inferbench-test"
OVERLAYS = Path(__file__).parents[2] / "service" / "k3s" / "overlays"


def pytest_report_header():
    """Say which cluster is used, or why none is."""
    return f"kubernetes: {_why_not() or _server()}"


def _why_not():
    if not os.environ.get("INFERBENCH_K3S"):
        return "not asked to use a cluster; run `tox run -e k3s`, or set INFERBENCH_K3S=1"
    if shutil.which("kubectl") is None:
        return "there is no kubectl on the PATH"
    try:
        Kubectl(_context(), NAMESPACE).run("get", "--raw=/readyz", namespaced=False)
    except ClusterError as error:
        return str(error)
    return ""


def _server():
    said = json.loads(Kubectl(_context(), NAMESPACE).run("version", "--output=json", namespaced=False))
    return f"{said['serverVersion']['gitVersion']}, context {_context() or 'current'}"


def _context():
    return os.environ.get("INFERBENCH_K3S_CONTEXT") or None


@pytest.fixture(scope="session")
def kubectl():
    """The cluster, or a reason to skip."""
    if why_not := _why_not():
        pytest.skip(why_not)
    return Kubectl(_context(), NAMESPACE)


@pytest.fixture(scope="session")
def session(kubectl):
    """One session's name in the cluster; everything of it is removed at the end."""
    made = ClusterSession()
    yield made
    made.close()


@pytest.fixture(scope="session")
def image(kubectl):
    """The image that the node has."""
    return os.environ.get("INFERBENCH_K3S_IMAGE") or "localhost/inferbench-sentiment:0.1.0"


@pytest.fixture
def boot(kubectl, session, image, tmp_path):
    """Make a service in the cluster (not booted yet); stopped at the end of the test."""
    with boots(session, image, tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def two_replicas(kubectl, session, image, tmp_path_factory):
    """A service with two replicas, booted once for a module that disturbs it and waits until it is whole again."""
    with boots(session, image, tmp_path_factory.mktemp("two")) as make:
        service = make(overlay=OVERLAYS / "two-replicas")
        service.boot()
        yield service


@contextmanager
def boots(session, image, folder):
    """Yield a function that makes services; they are stopped at the end."""
    made = []

    def make(*, overlay=OVERLAYS / "one-replica", runtime=None, timeout=300.0, **deployment):
        given = {"kind": "kubernetes", "overlay": "x", "namespace": NAMESPACE, "image": image, **deployment}
        if (context := _context()) is not None:
            given.setdefault("context", context)
        spec = DeploymentSpec.from_table(given, where="test")
        made.append(
            KubernetesService(
                Profile("test", runtime or {"engine": "onnxruntime", "precision": "int8"}, {}, spec),
                overlay=overlay,
                ready="/readyz",
                boot_timeout=timeout,
                session=session,
                folder=folder,
            )
        )
        return made[-1]

    try:
        yield make
    finally:
        for service in made:
            service.stop()
