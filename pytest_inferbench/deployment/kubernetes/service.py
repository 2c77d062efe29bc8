"""The service in a Kubernetes cluster: one boot is one set of objects, made for it and removed after it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx

from pytest_inferbench.config.profile import Profile
from pytest_inferbench.deployment.disruptor import InjectedFault
from pytest_inferbench.deployment.kubernetes import state
from pytest_inferbench.deployment.kubernetes.faults import ClusterFaults
from pytest_inferbench.deployment.kubernetes.kubectl import ClusterError, Kubectl, Manifest
from pytest_inferbench.deployment.kubernetes.leftovers import Leftover, find_leftovers
from pytest_inferbench.deployment.kubernetes.manifests import BOOT_LABEL, adapt, entrance, render, resource, served
from pytest_inferbench.deployment.kubernetes.port_forward import PortForward
from pytest_inferbench.deployment.kubernetes.session import ClusterSession
from pytest_inferbench.deployment.kubernetes.state import Problem
from pytest_inferbench.deployment.kubernetes.watch import ClusterWatch
from pytest_inferbench.disruption import Disruption
from pytest_inferbench.errors import DeploymentError

__all__ = ["KubernetesService"]

_POLL_SECONDS = 1.0
_TAIL_LINES = 25
_NODE_SECONDS = 10.0
_DELETE_SECONDS = 150
_KINDS = "deployments.apps,replicasets.apps,pods"


class KubernetesService:
    """One boot of the service in a cluster, under one profile. Not reusable: a new run gets a new one.

    ``overlay``: the manifests, ``ready``: the path that answers 200, ``boot_timeout``: seconds, ``folder``: for
    temporary files.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        overlay: Path,
        ready: str,
        boot_timeout: float,
        session: ClusterSession,
        folder: Path,
    ) -> None:
        self.profile = profile
        self.boot_seconds = 0.0
        self.boot_name = session.next_boot()
        self.kubectl = Kubectl(profile.deployment.context, profile.deployment.namespace)
        self._overlay = overlay
        self._ready = ready
        self._timeout = boot_timeout
        self._session = session
        self._folder = folder
        self.pid: int | None = None
        self._objects: list[Manifest] = []
        self._url = ""
        self._route = ""
        self._port_forward: PortForward | None = None
        self._leftovers: tuple[Leftover, ...] = ()
        self._registered = False
        self._faults = ClusterFaults(self)

    @property
    def session(self) -> ClusterSession:
        """Who cleans up, should this process be killed."""
        return self._session

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return self._url

    @property
    def route(self) -> str:
        """How requests get in: ``"NodePort 31234 of node 10.0.0.7"``, or that it is only a port-forward."""
        return self._route

    @property
    def deployment(self) -> str:
        """The Deployment under test, as kubectl names it: ``Deployment.apps/NAME``."""
        return resource(served(self._objects)[1])

    @property
    def worker_count(self) -> int:
        """How many processes take requests once booted: the workers of all replicas."""
        return max(1, int(served(self._objects)[1]["spec"].get("replicas", 1))) * self.profile.deployment.workers

    @property
    def entrance(self) -> tuple[str, int]:
        """The container under test, and the port that it listens on."""
        return entrance(self._objects)

    @property
    def alive(self) -> bool:
        """True while a pod takes requests, and while the cluster does not say."""
        if self._port_forward is not None and not self._port_forward.alive:
            return False
        try:
            return bool(state.ready_pods(self.pods()))
        except ClusterError:
            return True

    def pods(self) -> list[Manifest]:
        """Return the pods of this boot, whatever their state. Raises ClusterError."""
        return self.kubectl.get("pods", self._selector)

    def boot(self, progress: Callable[[float, str], None] | None = None) -> None:
        """Create the objects and wait until every replica takes requests. Raises DeploymentError with the cause."""
        started = time.monotonic()

        def tell(line: str) -> None:
            if progress is not None:
                progress(time.monotonic() - started, line)

        self._create()
        if self._leftovers:
            tell(self._leftovers[0].offer(self.kubectl))
        self._roll_out(started + self._timeout, tell)
        self._find_way_in(started + self._timeout, tell)
        self.boot_seconds = time.monotonic() - started

    def stop(self) -> None:
        """Remove what :meth:`boot` created, and nothing else; wait until its pods are gone."""
        if self._port_forward is not None:
            self._port_forward.close()
            self._port_forward = None
        if not self._registered:
            return
        self._registered = False
        # What cannot be removed now stays registered, and is tried again when the session ends.
        self.kubectl.run(*self._removal, timeout=_DELETE_SECONDS + 10)
        self._session.withdraw_cleanup(self.boot_name)

    def objection(self, disruption: Disruption) -> str:
        """Return why it cannot be disrupted so, empty if it can. Asks the cluster for its nodes, if it matters."""
        return self._faults.objection(disruption)

    async def disrupt(self, fault: InjectedFault) -> None:
        """Carry out ``fault.disruption`` now and undo it; see :class:`ClusterFaults`. Raises DeploymentError."""
        await self._faults.carry_out(fault)

    def rolled_out(self) -> bool:
        """Tell whether every replica is of the present version and takes requests. Raises ClusterError."""
        return state.rolled_out(self.kubectl.get(self.deployment))

    def watch(self) -> ClusterWatch:
        """Begin to note what the pods use and what the cluster tells of them."""
        return ClusterWatch(self)

    def log_tail(self) -> str:
        """Return the last lines of every pod's log, and what the cluster warned of."""
        try:
            objects = self._seen()
            pods = [item["metadata"]["name"] for item in objects if item["kind"] == "Pod"]
            lines = [f"(reached by {self._route})"] if self._route else []
            for name in pods:
                lines += [f"[{name}] {line}" for line in self._log(name).splitlines()]
            lines += state.describe_events_about(self._events(), objects, warnings=True)[-5:]
        except ClusterError as error:
            return f"(no log: {error})"
        return "\n".join(lines) or "(there is no pod and therefore no log)"

    @property
    def _selector(self) -> str:
        return f"--selector={BOOT_LABEL}={self.boot_name}"

    @property
    def _removal(self) -> tuple[str, ...]:
        names = (resource(item) for item in self._objects)
        # In the foreground: the next boot must not find the node still taken by the pods of this one.
        limits = ("--ignore-not-found", "--cascade=foreground", f"--timeout={_DELETE_SECONDS}s")
        return ("delete", *names, *limits)

    def _create(self) -> None:
        session = self._session
        rendered = render(
            self.kubectl, self._overlay, self._folder, run=session.run, boot=self.boot_name, owner=session.owner
        )
        environment = {"INFERBENCH_PROFILE": self.profile.to_json(), "BENTOML_DO_NOT_TRACK": "True"}
        self._objects = adapt(rendered, self.profile.deployment, environment)
        session.require_namespace(self.kubectl, next((i for i in rendered if i["kind"] == "Namespace"), None))
        self._leftovers = find_leftovers(self.kubectl, self._session.run)
        # Registered before anything is created: killed in between, there is nothing to remove, and that is no error.
        session.register_cleanup(self.boot_name, self.kubectl.command(*self._removal))
        self._registered = True
        wanted = json.dumps({"apiVersion": "v1", "kind": "List", "items": self._objects})
        try:
            self.kubectl.run("create", "--filename=-", stdin=wanted)
        except ClusterError as error:
            raise self._error(f"could not be created: {error}") from error

    def _roll_out(self, deadline: float, tell: Callable[[str], None]) -> None:
        while True:
            objects, events = self._seen(), self._events()
            if state.rolled_out([item for item in objects if item["kind"] == "Deployment"]):
                return
            if problem := state.diagnose(objects, events):
                raise self._error(f"does not start: {problem.message}", problem)
            line = state.summary(objects, events)
            tell(line)
            if time.monotonic() > deadline:
                late = [item["metadata"]["name"] for item in objects if item["kind"] == "Pod"]
                raise self._error(
                    f"was not rolled out after {self._timeout:g} s ({line}); raise --inferbench-boot-timeout if it "
                    "only needs more time",
                    Problem(message=line, pod=late[0] if late else None),
                )
            time.sleep(_POLL_SECONDS)

    def _find_way_in(self, deadline: float, tell: Callable[[str], None]) -> None:
        name = served(self._objects)[0]["metadata"]["name"]
        (service,) = self.kubectl.get("service", name)
        port = state.node_port(service)
        hosts = state.host_addresses(self.pods()) if port else []
        for host in hosts:
            url = f"http://{host}:{port}"
            # The rules that lead from the node's port to the pods may come a moment after the pods.
            if self._answers(url, min(deadline, time.monotonic() + _NODE_SECONDS)):
                self._url, self._route = url, f"NodePort {port} of node {host}"
                return
        why = f"nothing answers at {', '.join(f'{host}:{port}' for host in hosts)}" if hosts else "there is no NodePort"
        tell(f"{why}: falling back to kubectl port-forward")
        self._port_forward = PortForward(
            self.kubectl, name, service["spec"]["ports"][0]["port"], log=self._folder / f"forward-{self.boot_name}.log"
        )
        if not self._answers(self._port_forward.url, max(deadline, time.monotonic() + _NODE_SECONDS)):
            raise self._error(
                f"is ready in the cluster but cannot be reached from this machine: {why}, and through kubectl "
                f"port-forward GET {self._ready} did not answer 200 either ({self._port_forward.last_line()})"
            )
        self._url = self._port_forward.url
        self._route = f"kubectl port-forward ({why}): only one pod, slower than a NodePort, closed when the pod ends"
        tell(f"reached by {self._route}")

    def _answers(self, url: str, deadline: float) -> bool:
        """Tell whether the service at ``url`` gets ready before ``deadline``."""
        # Proxies are for the world outside.
        with httpx.Client(base_url=url, timeout=2.0, trust_env=False) as client:
            while time.monotonic() < deadline and (self._port_forward is None or self._port_forward.alive):
                try:
                    if client.get(self._ready).status_code == httpx.codes.OK:
                        return True
                except httpx.HTTPError:
                    pass
                time.sleep(0.1)
        return False

    def _seen(self) -> list[Manifest]:
        return self.kubectl.get(_KINDS, self._selector)

    def _events(self) -> list[Manifest]:
        try:
            return self.kubectl.get("events")
        except ClusterError as error:
            if error.forbidden:
                return []  # they only make messages better
            raise

    def _log(self, pod: str, *, previous: bool = False) -> str:
        which = ("--previous",) if previous else ()
        try:
            return self.kubectl.run("logs", pod, f"--tail={_TAIL_LINES}", *which).rstrip()
        except ClusterError as error:
            return f"(no log: {error.refusal or error})"

    def _error(self, what: str, problem: Problem | None = None) -> DeploymentError:
        where = "" if self.kubectl.context is None else f", context {self.kubectl.context!r}"
        lines = [
            f"the service in Kubernetes {what} (profile {self.profile.name!r})",
            f"  overlay: {self._overlay}, namespace {self.kubectl.namespace}{where}",
            *(f"  {left.offer(self.kubectl)}" for left in self._leftovers),
        ]
        if problem is not None and problem.pod is not None:
            log = self._log(problem.pod, previous=problem.previous)
            lines += [f"  end of the log of {problem.pod}:", *_indent(log.splitlines())]
        return DeploymentError("\n".join(lines))


def _indent(lines: Sequence[str]) -> Iterator[str]:
    return (f"  | {line}" for line in lines)
