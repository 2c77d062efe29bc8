"""Which model is served: the embedded one, a folder, or a hub id; always as a folder that transformers can load."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.errors import ServiceError
from service.model import cache, embedded
from service.text.lexicon import LABELS

MODEL_ENV: Final = "INFERBENCH_MODEL"
_PATTERNS: Final = ("*.json", "*.safetensors", "*.txt", "*.bin", "*.model")


@dataclass(frozen=True, slots=True)
class Source:
    """A model as a folder in transformers' format.

    ``digest`` is a SHA-256 over its contents. ``label_rows[i]`` is the row of the model's output that holds
    ``LABELS[i]``.
    """

    name: str
    folder: Path
    digest: str
    label_rows: tuple[int, ...]

    def __post_init__(self) -> None:
        if sorted(self.label_rows) != list(range(len(LABELS))):
            raise ValueError(f"label_rows must be a permutation of {len(LABELS)} rows, got {self.label_rows}")


def resolve(name: str | None = None, root: Path | None = None, *, deep: bool = True) -> Source:
    """The model called ``name`` (default: ``INFERBENCH_MODEL``, else the embedded one); built or fetched if need be.

    ``embedded`` and ``embedded:SIZE`` are built into the cache under ``root``; an existing folder is used as it is;
    anything else is a hub id. Without ``deep``, an embedded model's files are compared by size only.

    Raises:
        ServiceError: there is no such model, or its labels are not negative, neutral and positive.
    """
    name = name or os.environ.get(MODEL_ENV) or "embedded"
    kind, _, size = name.partition(":")
    if kind == "embedded":
        shape = embedded.SIZES.get(size or "base")
        if shape is None:
            known = ", ".join(f"embedded:{known}" for known in embedded.SIZES)
            raise ServiceError(f"{MODEL_ENV}={name}: there is no embedded model of size {size!r}. There are: {known}.")
        entry = embedded.obtain(shape, root, deep=deep)
        return Source(name, entry.folder, entry.digest, tuple(range(len(LABELS))))
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _fetch(name)
    paths = sorted({path for pattern in _PATTERNS for path in folder.glob(pattern)})
    digest = cache.digest_of({path.name: cache.hash_file(path) for path in paths})
    return Source(name, folder, digest, _label_rows(name, folder))


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(_PATTERNS)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ServiceError(
            f"{MODEL_ENV}={name} is neither a folder nor a hub model that can be fetched ({reason}). "
            "Give a folder with config.json and weights, a reachable hub id, or unset it for the embedded model."
        ) from error


def _label_rows(name: str, folder: Path) -> tuple[int, ...]:
    try:
        id2label = json.loads((folder / "config.json").read_text())["id2label"]
        rows = {str(label).lower(): int(row) for row, label in id2label.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ServiceError(
            f"{MODEL_ENV}={name}: {folder / 'config.json'} is missing, unreadable, or has no id2label."
        ) from error
    if set(rows) != set(LABELS):
        raise ServiceError(
            f"{MODEL_ENV}={name} has the labels {', '.join(sorted(rows))}; the service needs {', '.join(LABELS)}. "
            "Set id2label in its config.json, or choose another model."
        )
    return tuple(rows[label] for label in LABELS)
