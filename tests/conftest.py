"""Shared by all tests: pytest's own tools, and what must share a process when the tests run in several."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

#: Fixtures that cost seconds and serve many tests: with pytest-xdist's ``--dist loadgroup`` those tests run in one
#: process, so that each of these is made once. All others go wherever a process is free.
_SHARED = {"tiny_cache": "service", "served": "service", "made": "html report"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group the tests that share a costly fixture."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        names = getattr(item, "fixturenames", ())
        group = next((group for fixture, group in _SHARED.items() if fixture in names), "")
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
