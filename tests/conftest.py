"""Shared by all tests: pytest's own tools, and what must share a process when the tests run in several."""

from __future__ import annotations

from typing import Any

import pytest

pytest_plugins = ["pytester"]

#: Files whose tests share fixtures that cost many seconds (a model, a booted service, a report), and the name of the
#: group: with pytest-xdist's ``--dist loadgroup`` they run in one process. Every other test runs wherever one is free.
_GROUPS = {
    "tests/service/test_service_bento.py": "service",
    "tests/service/test_service_fuzz.py": "service",
    "tests/service/test_service_http.py": "service",
    "tests/service/test_service_model.py": "service",
    "tests/plugin/test_option_html.py": "report",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Group by file: pytest-xdist's own groups are part of a node id, which pytest 9.2 does not let it change."""
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return _GROUPS.get(nodeid.partition("::")[0], nodeid)

    return Groups(config, log)
