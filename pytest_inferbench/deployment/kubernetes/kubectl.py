"""``kubectl`` as a subprocess: the user's own, with the user's kubeconfig, and errors that say what to do."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from typing import Any

from pytest_inferbench.errors import DeploymentError

__all__ = ["ClusterError", "Kubectl", "Manifest", "explain"]

#: An object of the cluster, as JSON values.
Manifest = Mapping[str, Any]

_REQUEST_SECONDS = 20.0
_KLOG = re.compile(r"^[EWI]\d{4} \d\d:\d\d:\d\d")
_K3S_CONFIG = "/etc/rancher/k3s/k3s.yaml"


class ClusterError(DeploymentError):
    """The cluster, or ``kubectl``, refused. ``refusal`` is its own message."""

    def __init__(self, message: str, *, refusal: str = "") -> None:
        super().__init__(message)
        self.refusal = refusal

    @property
    def forbidden(self) -> bool:
        """True if the user may not do this, which need not hinder what else is tried."""
        return "forbidden" in self.refusal.lower() and "exceeded quota" not in self.refusal

    @property
    def not_found(self) -> bool:
        """True if what was asked for does not exist."""
        return "(NotFound)" in self.refusal


class Kubectl:
    """Commands to one cluster and one namespace of it. ``context``: None is the kubeconfig's current one."""

    def __init__(self, context: str | None, namespace: str) -> None:
        self.context = context
        self.namespace = namespace

    def command(self, *arguments: str, namespaced: bool = True) -> list[str]:
        """Return the whole command line."""
        context = [] if self.context is None else ["--context", self.context]
        return ["kubectl", *context, *(["--namespace", self.namespace] if namespaced else []), *arguments]

    def shown(self, *arguments: str) -> str:
        """Return the command as a user would type it."""
        return " ".join(self.command(*arguments))

    def run(
        self,
        *arguments: str,
        stdin: str | None = None,
        timeout: float = _REQUEST_SECONDS,
        namespaced: bool = True,
        offline: bool = False,
    ) -> str:
        """Return what a command prints. ``timeout``: seconds, for one answer of the cluster and for all of it.

        Raises ClusterError with a cause and a remedy: no ``kubectl``, an unknown context, an unreachable or
        forbidden cluster, or whatever else it says.
        """
        if offline:
            command = ["kubectl", *arguments]
        else:  # right behind the verb: what comes after a `--` is not for kubectl
            command = self.command(
                arguments[0], f"--request-timeout={timeout:g}s", *arguments[1:], namespaced=namespaced
            )
        try:
            done = subprocess.run(
                command,
                input=stdin if stdin is not None else "",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout + 10,
                check=False,
            )
        except FileNotFoundError:
            raise ClusterError(
                "there is no kubectl on the PATH, but the deployment kind 'kubernetes' needs it; install it "
                "(K3s includes one: /usr/local/bin/kubectl)"
            ) from None
        except OSError as error:
            raise ClusterError(f"kubectl cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired:
            raise ClusterError(
                f"the cluster{self._named} did not answer `{' '.join(command)}` within {timeout + 10:g} s"
            ) from None
        if done.returncode:
            raise explain(done.stderr or done.stdout, command, context=self.context, contexts=self._contexts)
        return done.stdout

    def get(self, *arguments: str, namespaced: bool = True) -> list[Manifest]:
        """Return the objects that ``kubectl get`` finds: a list, whether one was asked for or many."""
        text = self.run("get", *arguments, "--output=json", namespaced=namespaced)
        try:
            found = json.loads(text) if text.strip() else {"items": []}
        except ValueError as error:
            raise ClusterError(f"`kubectl get {' '.join(arguments)}` did not answer with JSON: {error}") from error
        return list(found["items"]) if "items" in found else [found]

    def server_version(self) -> tuple[int, int]:
        """Return the major and minor version of Kubernetes that the cluster runs."""
        text = self.run("version", "--output=json", namespaced=False)
        try:
            version = json.loads(text)["serverVersion"]
            major, minor = (int(re.match(r"\d+", version[key])[0]) for key in ("major", "minor"))  # type: ignore[index]
        except (ValueError, KeyError, TypeError) as error:
            raise ClusterError(f"the cluster{self._named} did not report its version: {error!r}") from error
        return major, minor

    @property
    def _named(self) -> str:
        return "" if self.context is None else f" {self.context!r}"

    def _contexts(self) -> str:
        try:
            done = subprocess.run(
                ["kubectl", "config", "get-contexts", "--output=name"],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return ", ".join(done.stdout.split())


def explain(output: str, command: list[str], *, context: str | None, contexts: Any = lambda: "") -> ClusterError:
    """Turn what ``kubectl`` printed into an error with a cause and a remedy.

    ``contexts``: called for the names of the contexts that there are, only if one is unknown.
    """
    # What it logs on the way (memcache.go and the like) repeats what its last line says.
    lines = [line.strip() for line in output.splitlines() if line.strip() and not _KLOG.match(line)]
    refusal = "\n".join(lines) or output.strip() or "it failed without a message"
    shown, lower = " ".join(command), refusal.lower()
    cluster = "the cluster" if context is None else f"the cluster of context {context!r}"
    if re.search(r'context "?[^"]*"? does not exist|no context exists|context was not found', lower):
        known = contexts()
        message = (
            f"the kubeconfig has no context {context!r} (known: {known or 'none'}); correct deployment.context, or set "
            f"KUBECONFIG (K3s writes {_K3S_CONFIG})"
        )
    elif "permission denied" in lower and ("kubeconfig" in lower or "k3s.yaml" in lower or "loading config" in lower):
        message = (
            f"the kubeconfig is not readable: {refusal}; copy it to a file that you may read, and set KUBECONFIG to it"
        )
    elif "provided port is already allocated" in lower:
        message = (
            f"the NodePort in the overlay is already in use in {cluster}: {refusal}; remove nodePort from the Service, "
            "so that the cluster selects a free one"
        )
    elif "exceeded quota" in lower:
        message = (
            f"a quota of {cluster} does not allow it: {refusal}; lower the requests or replicas in the overlay, or "
            "raise the quota"
        )
    # It asks for a user's name where the kubeconfig has none, and gets no answer.
    elif lower == "error: eof" or re.search("unauthorized|you must be logged in|provide credentials", lower):
        message = f"{cluster} does not accept the kubeconfig's credentials: {refusal}; log in again"
    elif "forbidden" in lower:
        message = (
            f"{cluster} forbids `{shown}`: {refusal}; request this permission, or use another deployment.namespace"
        )
    elif re.search(
        r"connection to the server|unable to connect|connection refused|no such host|i/o timeout|tls handshake|"
        r"network is unreachable|no route to host|client.timeout|deadline exceeded|serviceunavailable",
        lower,
    ):
        message = (
            f"{cluster} cannot be reached: {refusal.splitlines()[-1]}; check that it is running and that KUBECONFIG "
            f"names the right one (K3s writes {_K3S_CONFIG})"
        )
    else:
        message = f"`{shown}` failed: {refusal}"
    return ClusterError(message, refusal=refusal)
