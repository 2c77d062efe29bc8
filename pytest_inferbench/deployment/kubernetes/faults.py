"""What is done on purpose to a service in a cluster: orders to the cluster, and signals from inside a container.

"The first" pod is the first by name among those that take requests, so that a repeat does the same.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pytest_inferbench.deployment import helper_process
from pytest_inferbench.deployment.disruptor import InjectedFault
from pytest_inferbench.deployment.kubernetes import state
from pytest_inferbench.deployment.kubernetes.kubectl import ClusterError, Manifest
from pytest_inferbench.deployment.kubernetes.session import ClusterBoot
from pytest_inferbench.disruption import (
    Cordon,
    CpuPressure,
    DeletePod,
    Disruption,
    Freeze,
    KillWorker,
    LimitCpu,
    MemoryPressure,
    Restart,
    Scale,
)
from pytest_inferbench.errors import DeploymentError

__all__ = ["ClusterFaults"]

_POLL_SECONDS = 0.5
_RESIZED_WITHIN = 20.0
_LEAVE_SECONDS = 15.0
_RESIZES = (1, 33)
_ONE_NODE = "the cluster has one node, and closed it takes no pod at all; use DeletePod or Scale"

T = TypeVar("T")


class ClusterFaults:
    """Disturbs one boot of a service."""

    def __init__(self, service: ClusterBoot) -> None:
        self._service = service
        self._kubectl = service.kubectl

    def objection(self, disruption: Disruption) -> str:
        """Return why it cannot be carried out, as far as that is known before the boot; empty if it can."""
        try:
            if isinstance(disruption, Cordon) and len(self._kubectl.get("nodes", namespaced=False)) < 2:
                return _ONE_NODE
            if isinstance(disruption, LimitCpu) and (version := self._kubectl.server_version()) < _RESIZES:
                shown, needed = (".".join(map(str, numbers)) for numbers in (version, _RESIZES))
                return f"the cluster runs Kubernetes {shown}, but resizing pods in place needs {needed}"
        except ClusterError as error:
            return str(error)
        return ""

    async def carry_out(self, fault: InjectedFault) -> None:
        """Carry out ``fault.disruption`` now, and return once it is over and undone; see `DisruptsItself`."""
        match fault.disruption:
            case KillWorker(workers=workers):
                await self._on_workers(fault, "kill", workers, 0.0)
            case Freeze(workers=workers, duration=seconds):
                await self._on_workers(fault, "freeze", workers, float(seconds))
            case CpuPressure(processes=number, duration=seconds):
                await self._press(fault, "cpu", number, 0, float(seconds))
            case MemoryPressure(amount=amount, duration=seconds):
                await self._press(fault, "memory", 1, int(amount), float(seconds))
            case Restart():
                await self._restart(fault)
            case DeletePod():
                await self._delete(fault, fault.disruption)
            case Scale():
                await self._scale(fault, fault.disruption)
            case LimitCpu():
                await self._limit_cpu(fault, fault.disruption)
            case Cordon():
                await self._cordon(fault, fault.disruption)
            case _:
                raise DeploymentError("this disruption is not supported in a cluster")

    async def _on_workers(self, fault: InjectedFault, verb: str, workers: int | str, seconds: float) -> None:
        _, port = self._service.entrance
        pods = await self._ready()
        each = self._service.profile.deployment.workers
        if workers != "all" and int(workers) > each * len(pods):
            raise DeploymentError(f"{workers} workers should be disrupted, but {len(pods)} pods have {each} each")
        # Pod by pod: so many in each, and in the last one what is left.
        counts = ["all"] * len(pods)
        if workers != "all":
            counts = [str(min(each, int(workers) - begun)) for begun in range(0, int(workers), each)]
        async with AsyncExitStack() as stack:
            entered = (
                stack.enter_async_context(self._helper_in(pod, "signal", verb, str(port), wanted, str(seconds)))
                for pod, wanted in zip(pods, counts, strict=False)
            )
            output = await asyncio.gather(*entered)
            signal = "SIGKILL" if verb == "kill" else "SIGSTOP"
            fault.begin(f"{signal} to {'; '.join(output)}")
            await asyncio.sleep(seconds)

    async def _press(self, fault: InjectedFault, kind: str, number: int, amount: int, seconds: float) -> None:
        pod = (await self._ready())[0]
        async with AsyncExitStack() as stack:
            for _ in range(number):
                await stack.enter_async_context(self._helper_in(pod, "press", kind, str(seconds), str(amount)))
            fault.begin(f"{number} x {kind} inside {pod}")
            await asyncio.sleep(seconds)

    async def _restart(self, fault: InjectedFault) -> None:
        fault.begin(f"rollout of {self._service.deployment} restarted; it was not complete by the end of the run")
        await _finished(self._kubectl.run, "rollout", "restart", self._service.deployment)
        while True:
            if await _finished(self._service.rolled_out):
                break
            await asyncio.sleep(_POLL_SECONDS)
        fault.detail = f"rollout of {self._service.deployment} restarted, every pod replaced"

    async def _delete(self, fault: InjectedFault, delete: DeletePod) -> None:
        pods = await self._ready()
        if delete.pods != "all" and delete.pods > len(pods):
            raise DeploymentError(f"{delete.pods} pods should be deleted, but only {len(pods)} are ready")
        chosen = pods if delete.pods == "all" else pods[: delete.pods]
        how = ("--grace-period=0", "--force") if delete.forced else ()
        fault.begin(f"deleted {', '.join(chosen)}{' by force' if delete.forced else ''}")
        await _finished(self._kubectl.run, "delete", "pod", *chosen, "--wait=false", *how)

    async def _scale(self, fault: InjectedFault, scale: Scale) -> None:
        deployment = self._service.deployment
        (found,) = await _finished(self._kubectl.get, deployment)
        before = int(found["spec"].get("replicas", 1))

        def ask(replicas: int) -> None:
            self._kubectl.run("scale", deployment, f"--replicas={replicas}")

        fault.begin(f"{deployment} scaled from {before} to {scale.replicas} replicas and back")
        try:
            await _finished(ask, scale.replicas)
            await _until(fault, float(scale.duration))
        finally:
            await _finished(ask, before)

    async def _limit_cpu(self, fault: InjectedFault, limit: LimitCpu) -> None:
        """Resize the pods: a limit is lowered where they are, and a request that is above it goes with it."""
        name, _ = self._service.entrance
        pods = {pod["metadata"]["name"]: _resources(pod, name) for pod in await _finished(self._service.pods)}
        thousandths = round(float(limit.cpu) * 1000)
        cpu = f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)  # as the cluster writes it
        squeezed = {"limits": {"cpu": cpu}, "requests": {"cpu": cpu}}
        fault.begin(f"CPU limit {cpu} in {', '.join(pods)}")
        try:
            for pod in pods:
                await _finished(self._resize, pod, name, squeezed)
            await self._resized(list(pods), name, cpu)
            await _until(fault, float(limit.duration))
        finally:
            for pod, before in pods.items():
                before_limit = {part: {"cpu": before.get(part, {}).get("cpu")} for part in ("limits", "requests")}
                await _finished(self._resize, pod, name, before_limit)

    def _resize(self, pod: str, container: str, resources: Mapping[str, object]) -> None:
        patch = {"spec": {"containers": [{"name": container, "resources": resources}]}}
        try:
            self._kubectl.run("patch", "pod", pod, "--subresource=resize", f"--patch={json.dumps(patch)}")
        except ClusterError as error:
            if error.not_found and pod in error.refusal:
                return  # replaced meanwhile, by one with what the Deployment says
            raise DeploymentError(f"{error} (resizing pods in place needs Kubernetes 1.33)") from error

    async def _resized(self, pods: Sequence[str], container: str, cpu: str) -> None:
        deadline = time.monotonic() + _RESIZED_WITHIN
        while True:
            present = [pod for pod in await _finished(self._service.pods) if pod["metadata"]["name"] in pods]
            late = [pod for pod in present if _enforced(pod, container) not in (cpu, None)]
            if not late:
                return
            if time.monotonic() > deadline:
                why = state.resize_problem(late[0])
                raise DeploymentError(
                    f"pod {late[0]['metadata']['name']} was not resized in {_RESIZED_WITHIN:g} s{why}"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _cordon(self, fault: InjectedFault, cordon: Cordon) -> None:
        pods = {pod["metadata"]["name"]: pod for pod in await _finished(self._service.pods)}
        node = str(pods[(await self._ready())[0]]["spec"]["nodeName"])
        # A node that stays closed would outlast everything that this session made.
        undo = self._kubectl.command("uncordon", node, namespaced=False)
        self._service.session.register_cleanup(f"cordon {node}", undo)
        fault.begin(f"node {node} cordoned")
        try:
            await _finished(self._order, "cordon", node)
            await _until(fault, float(cordon.duration))
        finally:
            await _finished(self._order, "uncordon", node)
            self._service.session.withdraw_cleanup(f"cordon {node}")

    def _order(self, verb: str, node: str) -> None:
        self._kubectl.run(verb, node, namespaced=False)

    async def _ready(self) -> list[str]:
        ready = sorted(state.ready_pods(await _finished(self._service.pods)))
        if not ready:
            raise DeploymentError("no pod is ready, so there is none to disrupt")
        return ready

    @asynccontextmanager
    async def _helper_in(self, pod: str, *words: str) -> AsyncIterator[str]:
        """Run the helper process in a pod; yield the first line that it prints, and close its control pipe at the end.

        The program goes ahead of that in the same pipe: as an argument it would be longer than proxies let pass.
        """
        container, _ = self._service.entrance
        program = await asyncio.to_thread(Path(helper_process.__file__).read_bytes)
        read = f"import sys; exec(sys.stdin.buffer.read({len(program)}))"
        where = ("--stdin", pod, f"--container={container}", "--", "python3", "-c", read)
        process = await asyncio.create_subprocess_exec(
            *self._kubectl.command("exec", *where, *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(ConnectionError):  # refused: the reason stands in what it prints
                process.stdin.write(program)
                await process.stdin.drain()
            line = (await process.stdout.readline()).decode("utf-8", "replace").strip()
            if not line:
                output = (await process.communicate())[1].decode("utf-8", "replace")
                raise DeploymentError(f"inside pod {pod}: {_reason(output)}")
            yield f"{line} in {pod}"
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                await asyncio.wait_for(process.communicate(), _LEAVE_SECONDS)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


async def _finished(call: Callable[..., T], *arguments: Any) -> T:
    """Await a blocking call in a thread; cancelled, wait for it all the same: an order cannot be taken back halfway."""
    task = asyncio.ensure_future(asyncio.to_thread(call, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _until(fault: InjectedFault, seconds: float) -> None:
    """Sleep until so many seconds after the fault began."""
    assert fault.began_ns is not None
    await asyncio.sleep(seconds - (time.monotonic_ns() - fault.began_ns) / 1e9)


def _resources(pod: Manifest, container: str) -> dict[str, dict[str, str]]:
    found = next(item for item in pod["spec"]["containers"] if item["name"] == container)
    return dict(found.get("resources") or {})


def _enforced(pod: Manifest, container: str) -> str | None:
    """Return the CPU limit that the node enforces now; None if it does not say."""
    for status in pod.get("status", {}).get("containerStatuses", []):
        if status["name"] == container:
            limit = (status.get("resources") or {}).get("limits", {}).get("cpu")
            return None if limit is None else str(limit)
    return None


def _reason(output: str) -> str:
    """Return the cause in what ``kubectl exec`` printed."""
    if "python3" in output and ("not found" in output or "no such file" in output.lower()):
        return (
            "its container has no python3, which signals and pressure need; use DeletePod, Restart, Scale or LimitCpu"
        )
    if "exit code 137" in output:
        return "the pressure process was killed (exit code 137): it exceeded the container's memory limit; use less"
    lines = [line for line in output.splitlines() if line and not line.startswith("command terminated")]
    return lines[-1] if lines else "the program ended without a message"
