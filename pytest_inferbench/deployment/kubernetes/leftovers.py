"""What killed sessions left in a cluster: found by its label, and removed only when somebody says so.

``python -m pytest_inferbench.deployment.kubernetes.leftovers [--context NAME] [--namespace NAME] [--delete]`` lists
them, and with ``--delete`` removes those whose session is known to be gone.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from pytest_inferbench.config.profile import DEFAULT_NAMESPACE
from pytest_inferbench.deployment.kubernetes.kubectl import ClusterError, Kubectl, Manifest
from pytest_inferbench.deployment.kubernetes.manifests import OWNER_ANNOTATION, RUN_LABEL, resource
from pytest_inferbench.errors import DeploymentError

__all__ = ["Leftover", "find_leftovers"]

_KINDS = "deployments.apps,statefulsets.apps,services,configmaps,secrets,poddisruptionbudgets.policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """The objects of one session that is not this one. ``gone``: True if that session is known to have ended."""

    run: str
    objects: tuple[str, ...]
    owner: str
    gone: bool

    def offer(self, kubectl: Kubectl) -> str:
        """Return one line: what there is, whose it was, and the command that removes it."""
        state = "was killed" if self.gone else "may still be running"
        return (
            f"left over: {len(self.objects)} objects of session {self.run} ({self.owner}), which {state}; remove them "
            f"with: {kubectl.shown('delete', _KINDS, f'--selector={RUN_LABEL}={self.run}')}"
        )


def find_leftovers(kubectl: Kubectl, run: str | None) -> tuple[Leftover, ...]:
    """Return what other sessions than ``run`` left in the namespace, without those that still run on this machine.

    Nothing where the cluster does not let us look: whether there are any is nobody's failure.
    """
    selector = f"{RUN_LABEL},{RUN_LABEL}!={run}" if run else RUN_LABEL
    try:
        objects = kubectl.get(_KINDS, f"--selector={selector}")
    except ClusterError as error:
        if error.forbidden:
            return ()
        raise
    by_run: dict[str, list[Manifest]] = {}
    for item in objects:
        by_run.setdefault(item["metadata"]["labels"][RUN_LABEL], []).append(item)
    found = []
    for name, items in by_run.items():
        owner, gone = _owner(items[0])
        if gone is not False:
            objects_of = tuple(map(resource, items))
            found.append(Leftover(run=name, objects=objects_of, owner=owner, gone=gone is True))
    return tuple(found)


def _owner(item: Manifest) -> tuple[str, bool | None]:
    """Return who made an object, and whether they are gone: None if that cannot be known from here."""
    try:
        owner = json.loads(item["metadata"]["annotations"][OWNER_ANNOTATION])
        host, pid, started = str(owner["host"]), int(owner["pid"]), float(owner["started"])
    except (KeyError, ValueError, TypeError):
        return "of an unknown owner", None
    text = f"pid {pid} on {host}"
    if host != socket.gethostname():
        return text, None
    try:
        return text, abs(psutil.Process(pid).create_time() - started) > 2
    except psutil.NoSuchProcess:
        return text, True
    except psutil.AccessDenied:
        return text, None


def main(arguments: Sequence[str] | None = None) -> int:
    """List what is left over; the exit status is 1 if something is and was not removed, 2 for an error."""
    parser = argparse.ArgumentParser(
        prog="python -m pytest_inferbench.deployment.kubernetes.leftovers", description=__doc__
    )
    parser.add_argument("--context", help="a context of the kubeconfig; default: the current one")
    parser.add_argument("--namespace", default=DEFAULT_NAMESPACE, help=f"default: {DEFAULT_NAMESPACE}")
    parser.add_argument("--delete", action="store_true", help="remove those whose session is known to be gone")
    options = parser.parse_args(arguments)
    kubectl = Kubectl(options.context, options.namespace)
    try:
        left = 0
        for found in find_leftovers(kubectl, None):
            if options.delete and found.gone:
                kubectl.run("delete", *found.objects, "--ignore-not-found", timeout=180)
                print(f"removed {len(found.objects)} objects of session {found.run} ({found.owner})")
            else:
                left += 1
                print(found.offer(kubectl))
    except DeploymentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(left > 0)


if __name__ == "__main__":
    raise SystemExit(main())
