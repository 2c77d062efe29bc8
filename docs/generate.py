"""Writes into the docs what the code knows: options, fixtures, public names, the result's keys, and the example files.

``python docs/generate.py`` rewrites what stands between ``<!-- generated: NAME -->`` and ``<!-- end -->`` in every
page; ``NAME`` is a function of this module, or ``file`` and a path below docs/examples. The tests fail when a page is
stale (tests/unit/test_docs_reference.py).
"""

from __future__ import annotations

import enum
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
EXAMPLES = DOCS / "examples"
_BLOCK = re.compile(r"(<!-- generated: (?P<what>[^>]+?) -->\n).*?(<!-- end -->\n)", re.DOTALL)
_LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".sh": "sh"}

#: The headings under which public names stand, in this order; the modules are those of ``__init__.pyi``.
_HEADINGS = {
    "Arrival processes": ("workload.arrivals", "workload.varying", "workload.trace"),
    "Workload and load": ("workload.workload", "loadgen.generator", "events", "loadgen.target"),
    "Runs and measurements": (
        *("runs.run", "judgement.measurement", "judgement.cost_curve", "judgement.validity", "runs.environment"),
    ),
    "Objectives and comparisons": ("judgement.slo", "judgement.comparison", "judgement.outcome", "judgement.verdict"),
    "Disruptions": ("disruption", "judgement.resilience"),
    "Payloads": ("fuzz.slowest_payload",),
    "Errors": ("errors",),
}
#: What fixtures hand out is described in fixtures.md.
_HANDLES = ("harness.handles", "harness.capacity")
_STUB = re.compile(r"^from \.([\w.]+) import (\w+) as \2$", re.MULTILINE)
#: Definitions of the schema that have no keys of their own.
_PLAIN = {
    "number": "number",
    "interval": "two numbers",
    "outcome": "an outcome",
    "figures": "a [figure](#figure) for each metric",
}


def rewritten(page: str) -> str:
    """Return the text of a page with every generated block as it has to be now."""

    def block(found: re.Match[str]) -> str:
        what, _, argument = found["what"].partition(" ")
        body = _file(argument) if what == "file" else GENERATORS[what]()
        return f"{found[1]}\n{body.strip()}\n\n{found[3]}"

    return _BLOCK.sub(block, page)


def pages() -> list[Path]:
    """Return all pages, README.md of the repository too."""
    return [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]


def _file(name: str) -> str:
    path = EXAMPLES / name
    text = path.read_text(encoding="utf-8").rstrip()
    return f'```{_LANGUAGES[path.suffix]} title="{Path(*path.relative_to(EXAMPLES).parts[1:])}"\n{text}\n```'


def _options() -> str:
    from pytest_inferbench.plugin.options import OPTIONS

    rows = []
    for option in OPTIONS:
        value = f" {option.metavar}" if option.metavar else ""
        spelled = [f"`{flag}{value}`" for flag in (option.short, option.flag) if flag]
        kind = {"flag": "true or false", "list": "words"}.get(option.kind, "text")
        rows.append(
            (", ".join(spelled), option.help.replace("%%", "%"), f"`{option.key}` ({kind})" if option.ini else "—")
        )
    return _table(("command line", "what it does", "ini key"), rows)


def _fixtures() -> str:
    module = import_module("pytest_inferbench.plugin.fixtures")
    names = [name for name in module.__all__ if name != "DEFAULT_WORKLOADS"]
    return "\n\n".join(f"### `{name}`\n\n{_prose(getattr(module, name))}" for name in names)


def _handles() -> str:
    module = import_module("pytest_inferbench.harness.handles")
    found = [
        *(getattr(module, name) for name in module.__all__),
        import_module("pytest_inferbench.harness.capacity").Capacity,
    ]
    return "\n\n".join(_described(one.__name__, one, constructor=False) for one in found)


def _workloads() -> str:
    from pytest_inferbench.plugin.fixtures import DEFAULT_WORKLOADS

    rows = [
        (f"`{name}`", f"{w['rate']:g}/s", f"{w['cv']:g}", f"{w['duration']:g}s")
        for name, w in DEFAULT_WORKLOADS.items()
    ]
    return _table(("fixture", "rate", "cv", "duration"), rows)


def _python() -> str:
    package = import_module("pytest_inferbench")
    stub = Path(str(package.__file__)).with_suffix(".pyi").read_text(encoding="utf-8")
    places = {module: heading for heading, modules in _HEADINGS.items() for module in modules}
    chosen: dict[str, list[str]] = {heading: [] for heading in _HEADINGS}
    for module, name in sorted(_STUB.findall(stub), key=lambda found: found[1]):
        if module not in _HANDLES:
            chosen[places[module]].append(name)
    return "\n\n".join(
        "\n\n".join([f"## {heading}", *(_described(name, getattr(package, name)) for name in names)])
        for heading, names in chosen.items()
    )


def _strategies() -> str:
    module = import_module("pytest_inferbench.strategies")
    return "\n\n".join(_described(name, getattr(module, name)) for name in module.__all__)


def _results() -> str:
    from pytest_inferbench.report.json_result import SCHEMA_PATH

    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    parts = [f"{schema['description']}\n\n" + _keys(schema)]
    for name, part in schema["$defs"].items():
        if "properties" in part:
            said = f"{part['description']}\n\n" if "description" in part else ""
            said += "".join(f"All keys of {_type(one)}, and these:\n\n" for one in part.get("allOf", ()))
            parts.append(f"### {name}\n\n{said}{_keys(part)}")
    return "\n\n".join(parts)


def _keys(part: dict[str, Any]) -> str:
    rows = [row for key, value in part["properties"].items() for row in _key(key, value)]
    return _table(("key", "value", "meaning"), rows)


def _key(name: str, value: dict[str, Any]) -> Iterator[Sequence[str]]:
    yield f"`{name}`", _type(value), value.get("description", "")
    inner = value.get("items", value)
    for key, one in inner.get("properties", {}).items():
        yield from _key(f"{name}{'[]' if inner is not value else ''}.{key}", one)


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return _PLAIN.get(name, f"[{name}](#{name})")
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(one) for one in value["anyOf"]))
    if "enum" in value:
        return " or ".join(f"`{json.dumps(one)}`" for one in value["enum"])
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    kind = value.get("type", "anything")
    if kind == "array":
        return f"list of {_type(value['items'])}" if "items" in value else "list"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _described(name: str, found: Any, *, constructor: bool = True) -> str:
    """Return the section of a class or function: how it is called, what it is, and what it offers."""
    lines = [f"### `{name}`"]
    if isinstance(found, type) and issubclass(found, enum.Enum):
        lines += [_prose(found), "Values: " + ", ".join(f"`{member.name}`" for member in found) + "."]
    elif isinstance(found, type) and (issubclass(found, BaseException) or getattr(found, "_is_protocol", False)):
        lines.append(_prose(found))
    else:
        lines += [f"```python\n{name}{_signature(found)}\n```"] if constructor else []
        lines.append(_prose(found))
    if isinstance(found, type):
        members = [
            f"- `{'await ' if inspect.iscoroutinefunction(value) else ''}{member}{call}`: {_prose(value, first=True)}"
            for member, call, value in _members(found)
            if inspect.getdoc(value)
        ]
        lines += ["\n".join(members)] if members else []
    return "\n\n".join(lines)


def _members(found: type) -> Iterator[tuple[str, str, Any]]:
    for base in found.__mro__:
        if not base.__module__.startswith("pytest_inferbench"):
            continue
        for name, value in vars(base).items():
            if name.startswith("_") or vars(found).get(name, value) is not value:
                continue
            if isinstance(value, property):
                yield name, "", value
            elif isinstance(value, classmethod | staticmethod):
                yield name, _signature(value.__func__), value.__func__
            elif inspect.isfunction(value):
                yield name, _signature(value), value


def _signature(function: Any) -> str:
    """Return the parameters as they are written, on one line each where they do not fit on one."""
    signature = inspect.signature(function)
    words, keywords = [], False
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            keywords = True
            words.append("*")
        text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {_annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {_default(parameter.default)}"
        words.append(text)
        keywords = keywords or parameter.kind is parameter.VAR_POSITIONAL
    returned = signature.return_annotation
    end = "" if returned in (signature.empty, None, "None") else f" -> {_annotation(returned)}"
    line = f"({', '.join(words)}){end}"
    if len(line) <= 80 or not isinstance(function, type):
        return line
    return "(\n" + "".join(f"    {word},\n" for word in words) + f"){end}"


def _default(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_default, value))})"
    return "..." if repr(value).startswith("<") else repr(value)


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _prose(found: Any, *, first: bool = False) -> str:
    """Return a docstring as Markdown; only its first paragraph if ``first``."""
    paragraphs = (inspect.getdoc(found) or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in (paragraphs[:1] if first else paragraphs))
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"``(.+?)``", r"`\1`", text)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


GENERATORS: dict[str, Callable[[], str]] = {
    "options": _options,
    "fixtures": _fixtures,
    "handles": _handles,
    "workloads": _workloads,
    "python": _python,
    "strategies": _strategies,
    "results": _results,
}

if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))
    for path in pages():
        before = path.read_text(encoding="utf-8")
        if (after := rewritten(before)) != before:
            path.write_text(after, encoding="utf-8")
            print(f"written: {path.relative_to(DOCS.parent)}")
