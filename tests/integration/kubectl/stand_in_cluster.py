"""A cluster that is a folder of JSON, with a stand-in for kubectl in front of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_inferbench.config.profile import DeploymentSpec, Profile
from pytest_inferbench.deployment.kubernetes.service import KubernetesService
from pytest_inferbench.deployment.kubernetes.session import ClusterSession

LABELS = {"app": "sentiment"}
OVERLAY: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "inferbench", "labels": {"level": "restricted"}}},
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "sentiment"},
        "spec": {"type": "NodePort", "selector": dict(LABELS), "ports": [{"name": "http", "port": 3000}]},
    },
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "sentiment"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": dict(LABELS)},
            "template": {
                "metadata": {"labels": dict(LABELS)},
                "spec": {
                    "containers": [
                        {
                            "name": "service",
                            "image": "localhost/sentiment:1",
                            "env": [{"name": "INFERBENCH_PROFILE", "value": ""}, {"name": "OTHER", "value": "kept"}],
                        }
                    ]
                },
            },
        },
    },
]


@dataclass
class Cluster:
    """The stand-in's folder, and a way to make services in it."""

    folder: Path
    scenario: dict[str, Any] = field(default_factory=dict)
    session: ClusterSession = field(default_factory=ClusterSession)

    def plays(self, **scenario: Any) -> None:
        """Say how the cluster behaves."""
        self.scenario.update(scenario)
        (self.folder / "scenario.json").write_text(json.dumps(self.scenario), encoding="utf-8")

    def holds(self, *objects: dict[str, Any]) -> None:
        """Put objects into the cluster that somebody else made."""
        (self.folder / "objects.json").write_text(json.dumps(objects), encoding="utf-8")

    @property
    def objects(self) -> list[dict[str, Any]]:
        path = self.folder / "objects.json"
        found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        return found

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Every call of kubectl so far."""
        return [json.loads(line) for line in (self.folder / "calls.jsonl").read_text(encoding="utf-8").splitlines()]

    @property
    def verbs(self) -> list[str]:
        skipped = ("--context", "--namespace")
        found = []
        for call in self.calls:
            words = call["arguments"]
            at = 0
            while words[at] in skipped:
                at += 2
            found.append(words[at])
        return found

    def service(self, *, boot_timeout: float = 120.0, **deployment: Any) -> KubernetesService:
        table = {"kind": "kubernetes", "overlay": "overlay", **deployment}
        spec = DeploymentSpec.from_table(table, where="test")
        return KubernetesService(
            Profile("baseline", {"engine": "torch"}, {}, spec),
            overlay=self.folder / "overlay",
            ready="/readyz",
            boot_timeout=boot_timeout,
            session=self.session,
            folder=self.folder / "scratch",
        )
