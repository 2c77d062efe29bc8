"""What one pytest session does in clusters: under which label, and cleaned up even if the session is killed."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Sequence
from typing import Protocol

import psutil

from pytest_inferbench.config.profile import Profile
from pytest_inferbench.deployment.helper_process import helper_command
from pytest_inferbench.deployment.kubernetes.kubectl import ClusterError, Kubectl, Manifest
from pytest_inferbench.deployment.kubernetes.manifests import BOOT_LABEL, OWNER_ANNOTATION, RUN_LABEL
from pytest_inferbench.errors import DeploymentError

__all__ = ["ClusterBoot", "ClusterSession"]

_NAMESPACE_SECONDS = 90.0
#: What would go with a namespace, apart from what every namespace has.
_CONTENTS = "deployments,statefulsets,daemonsets,replicasets,jobs,cronjobs,pods,services,persistentvolumeclaims"


class ClusterSession:
    """The name of this session in clusters, and the commands that clean up after it.

    A helper process runs the commands that are left when the session ends, whatever the cause.
    """

    def __init__(self) -> None:
        self.run = secrets.token_hex(4)
        self.owner: dict[str, object] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": round(psutil.Process().create_time(), 2),
        }
        self._boots = 0
        self._helper: subprocess.Popen[str] | None = None

    def next_boot(self) -> str:
        """Return a name for one more boot, unique among all sessions and short enough for a suffix."""
        self._boots += 1
        return f"{self.run}-{self._boots}"

    def register_cleanup(self, key: str, command: Sequence[str], *, unless: Sequence[str] = ()) -> None:
        """Run ``command`` at the end of this session, unless it is withdrawn before or ``unless`` prints something."""
        self._send({"key": key, "command": list(command), **({"unless": list(unless)} if unless else {})})

    def withdraw_cleanup(self, key: str) -> None:
        """Withdraw a command: what it would remove is gone."""
        self._send({"key": key})

    def require_namespace(self, kubectl: Kubectl, manifest: Manifest | None) -> None:
        """See that the namespace is there. One that this session makes is removed at its end, if nothing else is in it.

        ``manifest``: the overlay's own, for its labels. A user who may not read namespaces is taken at their word.
        """
        name = kubectl.namespace
        deadline = time.monotonic() + _NAMESPACE_SECONDS
        while True:
            try:
                (found,) = kubectl.get("namespace", name, namespaced=False)
            except ClusterError as error:
                if error.forbidden:
                    return
                if not error.not_found:
                    raise
                break
            if found.get("status", {}).get("phase") != "Terminating":
                return
            if time.monotonic() > deadline:
                raise DeploymentError(
                    f"namespace {name} is being removed, and the removal does not end; see the reason in `kubectl get "
                    f"namespace {name} --output=yaml`, or use another deployment.namespace"
                )
            time.sleep(1)
        self._make_namespace(kubectl, manifest)

    def close(self) -> None:
        """Run the commands that are left and wait until they are done."""
        if self._helper is None:
            return
        if self._helper.stdin is not None:
            self._helper.stdin.close()
        self._helper.wait()
        self._helper = None

    def _make_namespace(self, kubectl: Kubectl, manifest: Manifest | None) -> None:
        name = kubectl.namespace
        labels = {**(manifest or {}).get("metadata", {}).get("labels", {}), RUN_LABEL: self.run}
        labels.pop(BOOT_LABEL, None)  # it outlives the boot
        made = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": labels, "annotations": {OWNER_ANNOTATION: json.dumps(self.owner)}},
        }
        # By label: if somebody else makes it between our look and our attempt, it is not ours to remove.
        mine = f"{RUN_LABEL}={self.run},kubernetes.io/metadata.name={name}"
        others = kubectl.command("get", _CONTENTS, f"--selector={RUN_LABEL}!={self.run}", "--output=name")
        remove = kubectl.command("delete", "namespaces", f"--selector={mine}", "--timeout=120s", namespaced=False)
        self.register_cleanup(f"namespace {name}", remove, unless=others)
        try:
            kubectl.run("create", "--filename=-", stdin=json.dumps(made), namespaced=False)
        except ClusterError as error:
            if "(AlreadyExists)" not in error.refusal:
                raise

    def _send(self, message: dict[str, object]) -> None:
        if self._helper is None:
            self._helper = subprocess.Popen(
                helper_command("clean-up"),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        assert self._helper.stdin is not None
        self._helper.stdin.write(json.dumps(message) + "\n")
        self._helper.stdin.flush()


class ClusterBoot(Protocol):
    """One boot of a service in a cluster, as those see it who disturb or watch it."""

    profile: Profile
    boot_name: str
    kubectl: Kubectl

    @property
    def session(self) -> ClusterSession:
        """Who cleans up, should this process be killed."""

    @property
    def deployment(self) -> str:
        """The Deployment under test, as kubectl names it: ``Deployment.apps/NAME``."""

    @property
    def entrance(self) -> tuple[str, int]:
        """The container under test, and the port that it listens on."""

    def pods(self) -> list[Manifest]:
        """Return the pods of this boot, whatever their state. Raises ClusterError."""

    def rolled_out(self) -> bool:
        """Tell whether every replica is of the present version and takes requests. Raises ClusterError."""
