"""What the pods of one boot use between two looks, and what the cluster tells of them meanwhile."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pytest_inferbench.deployment.kubernetes import container_usage, state
from pytest_inferbench.deployment.kubernetes.kubectl import ClusterError, Manifest
from pytest_inferbench.deployment.kubernetes.session import ClusterBoot
from pytest_inferbench.runs.usage import PodUsage

__all__ = ["ClusterWatch"]

_READ_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Look:
    pods: Mapping[str, Manifest]
    used: Mapping[str, Mapping[str, float | None]]
    events: frozenset[tuple[str, int]]


class ClusterWatch:
    """Looks at a booted service now, and once more in :meth:`end`. What cannot be read is left out: no failure."""

    def __init__(self, service: ClusterBoot) -> None:
        self._service = service
        self._events: list[Manifest] = []
        self._first = self._look()

    def end(self) -> tuple[tuple[PodUsage, ...], tuple[str, ...]]:
        """Return what each pod used since, and what happened, one line each."""
        first, last = self._first, self._look()
        pods = tuple(_between(name, first, last) for name in sorted({**first.pods, **last.pods}))
        new = [event for event in self._events if _identity(event) not in first.events]
        return pods, tuple(state.describe_events(new))

    def _look(self) -> _Look:
        try:
            pods = {str(pod["metadata"]["name"]): pod for pod in self._service.pods()}
            events = self._service.kubectl.get("events")
        except ClusterError:
            pods, events = {}, []
        # The boot is part of the name of every object that it made, and of none else.
        mine = re.compile(rf"-{re.escape(self._service.boot_name)}(-|\.|$)")
        self._events = [event for event in events if mine.search(str(event["involvedObject"].get("name")))]
        with ThreadPoolExecutor(max_workers=8) as readers:
            used = dict(zip(pods, readers.map(self._read, pods), strict=True))
        return _Look(pods, used, frozenset(map(_identity, self._events)))

    def _read(self, pod: str) -> Mapping[str, float | None]:
        container, _ = self._service.entrance
        program = Path(container_usage.__file__).read_text(encoding="utf-8")
        words = ("exec", pod, f"--container={container}", "--", "python3", "-c", program)
        try:
            found: dict[str, float | None] = json.loads(self._service.kubectl.run(*words, timeout=_READ_SECONDS))
        except (ClusterError, ValueError):
            return {}
        return found


def _between(name: str, first: _Look, last: _Look) -> PodUsage:
    pod = last.pods.get(name) or first.pods[name]
    before, after = first.used.get(name, {}), last.used.get(name, {})

    def grown(key: str) -> float | None:
        start, end = before.get(key) or 0.0, after.get(key)
        # A container that was started anew counts from nought.
        return None if end is None else end - start if end >= start else end

    peak = after.get("peak_memory_bytes")
    return PodUsage(
        pod=name,
        node=str(pod["spec"].get("nodeName") or ""),
        cpu_seconds=grown("cpu_seconds"),
        peak_memory_bytes=None if peak is None else int(peak),
        throttled_seconds=grown("throttled_seconds"),
        restarts=_restarts(pod) - (_restarts(first.pods[name]) if name in first.pods else 0),
    )


def _restarts(pod: Manifest) -> int:
    return sum(int(status.get("restartCount", 0)) for status in pod.get("status", {}).get("containerStatuses", []))


def _identity(event: Manifest) -> tuple[str, int]:
    """An event that comes again keeps its identity and counts up."""
    metadata = event.get("metadata", {})
    count = event.get("count") or (event.get("series") or {}).get("count") or 1
    return str(metadata.get("uid") or (event.get("reason"), event.get("message"))), int(count)
