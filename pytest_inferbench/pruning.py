"""Stored baselines whose test is gone."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pytest_inferbench.baselines import BaselineStore, StoredEntry

__all__ = ["gone"]


def gone(store: BaselineStore, root: Path, collected: Collection[str]) -> list[StoredEntry]:
    """Return the entries of tests that are no longer there, of every profile and machine.

    ``collected``: the names of all tests of every file that pytest collected, before any was deselected. An entry of
    a file that exists and was not collected may still have its test: it is left alone. So is a damaged file.
    """
    files = {name.partition("::")[0] for name in collected}
    found = []
    for entry in store.entries():
        if entry.problem:
            continue
        file = entry.test.partition("::")[0]
        unseen = file not in files and (root / file).exists()
        path_of = {store.path(profile=entry.profile, machine=entry.machine, test=name) for name in collected}
        if not unseen and entry.path not in path_of:
            found.append(entry)
    return found
