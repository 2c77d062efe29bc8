"""What is stored of a measurement so that an interrupted session can be resumed: pairs and capacities, by name."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass

import numpy as np

from pytest_inferbench.disruption import Disruption
from pytest_inferbench.harness.capacity import Capacity
from pytest_inferbench.harness.history import Pair
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.runs.run import Failure, Run
from pytest_inferbench.storage.documents import from_document, to_document
from pytest_inferbench.storage.resume_cache import ResumeCache

__all__ = ["load_capacity", "load_pairs", "resume_name", "store_capacity", "store_pairs"]

_PAIRS = tuple[Pair, ...]
_MAX_SEED = 2**128
#: 146 years: what is below does not overflow when differences are taken.
_MAX_NS = 2**62
_MAX_DEPTH = 12


def load_pairs(cache: ResumeCache, name: str, *, disruptions: Sequence[Disruption], paired: bool) -> list[Pair]:
    """Return the pairs that an interrupted session measured under ``name``; none if there is no sane document of any.

    ``paired``: whether each has a reference. Whatever the file holds, nothing is raised and none of it is run.
    """
    try:
        document = cache.load(name)
        pairs: list[Pair] = [] if document is None else list(from_document(document, _PAIRS))
        sane = all(_sane(pair, disruptions, paired) for pair in pairs)
    except Exception:  # noqa: BLE001  # of another version, damaged or made up: it is measured again
        return []
    return pairs if sane else []


def store_pairs(cache: ResumeCache, pairs: Sequence[Pair], name: str) -> None:
    """Store ``pairs`` under ``name``; what cannot be stored is noted in ``cache``, and nothing is raised."""
    try:
        document = to_document(tuple(pairs), _PAIRS)
    except Exception as error:  # noqa: BLE001  # a class of the user's, say: the measurement goes on
        cache.note(error)
        return
    cache.store(document, name)


def load_capacity(cache: ResumeCache, name: str, *, profile: str, slo: SLO) -> Capacity | None:
    """Return the capacity that an interrupted session found under ``name``, as :func:`load_pairs` does."""
    try:
        document = cache.load(name)
        found: Capacity | None = None if document is None else from_document(document, Capacity)
        if found is None or (found.profile, found.slo) != (profile, slo):
            return None
        low, high = found.interval
        rates = (found.rate, *found.boots)
        sane = bool(found.boots) and all(math.isfinite(rate) and rate > 0 for rate in rates)
        return found if sane and 0 < low <= found.rate <= high else None
    except Exception:  # noqa: BLE001  # as above
        return None


def store_capacity(cache: ResumeCache, capacity: Capacity, name: str) -> None:
    """Store ``capacity`` under ``name``, as :func:`store_pairs` does."""
    try:
        document = to_document(capacity, Capacity)
    except Exception as error:  # noqa: BLE001  # as above
        cache.note(error)
        return
    cache.store(document, name)


def resume_name(*parts: object) -> str:
    """Return a digest of ``parts`` that the next session finds again: of values and names, never of addresses.

    Of an object that is no plain value count its class and those attributes that are, of a function its name: the
    files of the project, which the cache's identity has, say what these do. What cannot even be looked at gets a name
    that is never found again.
    """
    try:
        text = json.dumps(_plain(parts, 0), sort_keys=True)
    except Exception:  # noqa: BLE001  # a property of the user's, say
        return uuid.uuid4().hex
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _plain(value: object, depth: int) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes | bytearray):
        return ["bytes", value.hex()]
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if depth >= _MAX_DEPTH:  # or it contains itself
        return [kind]
    if isinstance(value, np.ndarray):
        return [kind, str(value.dtype), _plain(value.tolist(), depth + 1)]
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, AbstractSet):
        return [kind, sorted(json.dumps(_plain(item, depth + 1), sort_keys=True) for item in value)]
    if isinstance(value, Mapping):
        items = ([_plain(name, depth + 1), _plain(item, depth + 1)] for name, item in value.items())
        return [kind, sorted(json.dumps(item, sort_keys=True) for item in items)]
    if is_dataclass(value):
        return [kind, _plain({each.name: getattr(value, each.name, None) for each in fields(value)}, depth + 1)]
    if isinstance(name := getattr(value, "__qualname__", None), str):
        return [kind, name]
    own = {name: item for name, item in getattr(value, "__dict__", {}).items() if isinstance(item, str | int | float)}
    return [kind, _plain(own, depth + 1)]


def _sane(pair: Pair, disruptions: Sequence[Disruption], paired: bool) -> bool:
    """Return whether a pair can be what a measurement with these ``disruptions`` made."""
    if (pair.reference is not None) is not paired or not 0 <= pair.seed < _MAX_SEED:
        return False
    return all(
        _sane_run(trial.run) and [event.disruption for event in trial.events] == list(disruptions)
        for trial in pair.trials
    )


def _sane_run(run: Run) -> bool:
    """Return whether the facts of a run can be true together, so that nothing that is computed of them fails."""
    failure, times = np.asarray(run.failure), (run.scheduled_ns, run.issued_ns, run.completed_ns)
    good = failure == Failure.NONE
    return bool(
        0 <= run.seed < _MAX_SEED
        and all(((values >= -1) & (values <= _MAX_NS)).all() for values in times)
        and (failure <= max(Failure)).all()
        and ((run.status >= 0) & (run.status <= 999)).all()
        and (run.sizes is None or (run.sizes >= 0).all())
        and (run.closed_loop or (np.diff(run.scheduled_ns) >= 0).all())
        and ((run.completed_ns >= 0) & (run.issued_ns >= 0))[good].all()
    )
