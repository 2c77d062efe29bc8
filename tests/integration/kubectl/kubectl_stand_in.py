#!/usr/bin/env python3
"""Stands in for ``kubectl`` on the PATH: records how it is called, and plays a cluster that is a folder of JSON.

``$KUBECTL_STAND_IN`` names the folder. ``calls.jsonl`` gets every command line. ``scenario.json`` says how the
cluster behaves: ``pod`` (the status of every pod that is made), ``deployment`` (the status of a Deployment),
``events``, ``node_port``, ``log``, ``version`` (of Kubernetes, major and minor), ``inside`` (what every program says
that is run in a pod), ``runs`` (True: such programs run on this machine), ``refuse`` ({first words of a command: what
it says on standard error}). ``objects.json`` is
what the cluster holds, ``overlay.json`` what every overlay renders to.
"""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["KUBECTL_STAND_IN"])
VALUED = ("--context", "--namespace")


def read(name: str, otherwise: Any) -> Any:
    path = FOLDER / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else otherwise


def write(name: str, value: Any) -> None:
    # Whole at any instant: the test reads it meanwhile.
    unfinished = FOLDER / f"{name}.{os.getpid()}"
    unfinished.write_text(json.dumps(value), encoding="utf-8")
    unfinished.replace(FOLDER / name)


def refuse(message: str) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(1)


def label_of(item: Any, key: str) -> str | None:
    value = item["metadata"].get("labels", {}).get(key)
    return None if value is None else str(value)


def matches(item: Any, selector: str) -> bool:
    """Selectors as kubectl reads them: ``a=b``, ``a!=b`` (also where there is no a), ``a``, and ``,`` between."""
    for part in filter(None, selector.split(",")):
        if "!=" in part:
            key, _, value = part.partition("!=")
            fits = label_of(item, key) != value
        elif "=" in part:
            key, _, value = part.partition("=")
            if key == "kubernetes.io/metadata.name":
                fits = item["metadata"]["name"] == value
            else:
                fits = label_of(item, key) == value
        else:
            fits = label_of(item, part) is not None
        if not fits:
            return False
    return True


def is_kind(item: Any, word: str) -> bool:
    """Tell whether ``deployments.apps``, ``pods``, ``Deployment.apps`` and the like mean the kind of ``item``."""
    kind = word.partition(".")[0].lower()
    return kind in (item["kind"].lower(), item["kind"].lower() + "s")


def kustomize(folder: str) -> None:
    """What the wrapper's transformers do to the canned overlay."""
    wrapper = json.loads((Path(folder) / "kustomization.yaml").read_text(encoding="utf-8"))
    for resource in wrapper["resources"]:
        if not (Path(folder) / resource).exists():
            refuse(f"error: accumulating resources: '{resource}': no such file or directory")
    pairs = wrapper["labels"][0]["pairs"]
    for item in read("overlay.json", []):
        item["metadata"].setdefault("labels", {}).update(pairs)
        if item["kind"] == "Namespace":
            item["metadata"]["name"] = wrapper["namespace"]
        else:
            item["metadata"]["name"] += wrapper["nameSuffix"]
            item["metadata"]["namespace"] = wrapper["namespace"]
        if item["kind"] == "Deployment":
            item["spec"]["selector"]["matchLabels"].update(pairs)
            item["spec"]["template"]["metadata"]["labels"].update(pairs)
        if item["kind"] == "Service":
            item["spec"]["selector"].update(pairs)
        print(json.dumps(item))


def annotate(note: str, text: str) -> None:
    key, _, value = note.partition("=")
    for line in filter(None, text.splitlines()):
        item = json.loads(line)
        item["metadata"].setdefault("annotations", {})[key] = value
        print(json.dumps(item, indent=1))


def create(text: str, scenario: Any) -> None:
    document, objects = json.loads(text), read("objects.json", [])
    for item in document.get("items", [document]):
        if any(o["kind"] == item["kind"] and o["metadata"]["name"] == item["metadata"]["name"] for o in objects):
            refuse(f'Error from server (AlreadyExists): "{item["metadata"]["name"]}" already exists')
        item["metadata"]["generation"] = 1
        if item["kind"] == "Service" and item["spec"].get("type") == "NodePort":
            item["spec"]["ports"][0]["nodePort"] = scenario.get("node_port", 30123)
        objects.append(item)
        if item["kind"] == "Deployment":
            wanted = item["spec"]["replicas"]
            item["status"] = scenario.get("deployment") or {
                "observedGeneration": 1,
                "replicas": wanted,
                "updatedReplicas": wanted,
                "availableReplicas": wanted,
            }
            for number in range(wanted):
                name = f"{item['metadata']['name']}-{number}"
                metadata = {"name": name, "labels": item["spec"]["template"]["metadata"]["labels"]}
                ready = {"conditions": [{"type": "Ready", "status": "True"}], "hostIP": "127.0.0.1"}
                objects.append({"kind": "Pod", "metadata": metadata, "status": scenario.get("pod") or ready})
    write("objects.json", objects)


def events(scenario: Any) -> list[Any]:
    """The scenario's, each about every pod."""
    pods = [item for item in read("objects.json", []) if item["kind"] == "Pod"]
    return [
        {"involvedObject": {"kind": "Pod", "name": pod["metadata"]["name"]}, **event}
        for pod in pods
        for event in scenario.get("events", [])
    ]


def get(words: list[str], options: dict[str, str], scenario: Any) -> None:
    objects = read("objects.json", [])
    if "/" in words[0]:
        words = list(words[0].partition("/")[::2])
    if words[0] == "events":
        found = events(scenario)
    else:
        found = [o for o in objects if any(is_kind(o, word) for word in words[0].split(","))]
        found = [o for o in found if matches(o, options.get("--selector", ""))]
    if words[1:]:
        found = [o for o in found if o["metadata"]["name"] == words[1]]
        if not found:
            refuse(f'Error from server (NotFound): {words[0]}s "{words[1]}" not found')
    if options["--output"] == "name":
        print("\n".join(f"{o['kind'].lower()}/{o['metadata']['name']}" for o in found))
    else:
        print(json.dumps(found[0] if words[1:] else {"kind": "List", "items": found}))


def delete(words: list[str], options: dict[str, str]) -> None:
    kept = []
    for item in read("objects.json", []):
        named = any(
            word.partition("/")[2] == item["metadata"]["name"] and is_kind(item, word.partition("/")[0])
            for word in words
            if "/" in word
        )
        selected = "--selector" in options and matches(item, options["--selector"])
        selected = selected and any(is_kind(item, word) for word in words[0].split(","))
        # Its owner is gone, so it goes.
        owner = item["metadata"]["name"].rpartition("-")[0]
        owned = item["kind"] == "Pod" and f"Deployment.apps/{owner}" in words
        if not (named or selected or owned):
            kept.append(item)
    write("objects.json", kept)


def forward(ports: str) -> None:
    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    print(f"Forwarding from 127.0.0.1:{ports.replace(':', ' -> ')}", flush=True)
    http.server.HTTPServer(("127.0.0.1", int(ports.partition(":")[0])), Ready).serve_forever()


def main(arguments: list[str]) -> None:
    words: list[str] = []
    options: dict[str, str] = {}
    given = iter(arguments)
    for argument in given:
        if argument == "--":
            words += given  # is not for kubectl
        elif argument in VALUED:
            options[argument] = next(given)
        elif argument.startswith("--"):
            name, _, value = argument.partition("=")
            options[name] = value
        else:
            words.append(argument)
    text = sys.stdin.read() if "--filename" in options else ""
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with (FOLDER / "calls.jsonl").open("a", encoding="utf-8") as calls:
            calls.write(json.dumps({"arguments": arguments, "stdin": text}) + "\n")
        scenario = read("scenario.json", {})
        for start, message in scenario.get("refuse", {}).items():
            if " ".join(words).startswith(start):
                refuse(message)
        verb, *rest = words
        if verb == "kustomize":
            kustomize(rest[0])
        elif verb == "annotate":
            annotate(rest[0], text)
        elif verb == "create":
            create(text, scenario)
        elif verb == "get":
            get(rest, options, scenario)
        elif verb == "delete":
            delete(rest, options)
        elif verb == "logs":
            print(scenario.get("previous_log" if "--previous" in options else "log", "ready to serve"))
        elif verb == "version":
            major, minor = scenario.get("version", ["1", "36"])
            print(json.dumps({"serverVersion": {"major": major, "minor": minor}}))
        elif verb == "config":
            print("default\nstaging")
        elif verb not in ("port-forward", "exec", "rollout", "scale", "patch", "cordon", "uncordon"):
            refuse(f"the stand-in knows no {verb!r}")
    if verb == "port-forward":
        forward(rest[1])
    if verb == "exec" and scenario.get("runs"):
        os.execvp(sys.executable, [sys.executable, *rest[2:]])
    if verb == "exec" and "inside" in scenario:
        print(scenario["inside"], flush=True)
        if "--stdin" in options:
            sys.stdin.read()  # its control pipe


if __name__ == "__main__":
    main(sys.argv[1:])
