"""Collects what the tests measured, in whichever process they ran, and reports it at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_inferbench.session import SESSION, InferbenchSession

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

__all__ = ["Reporting"]


class Reporting:
    """Hooks of the process that talks to the user."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._records: list[dict[str, Any]] = []
        self._capacities: list[dict[str, Any]] = []
        self._trouble = ""
        self._notes: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the records that came with a test's report."""
        self._records.extend(getattr(report, "inferbench", ()))
        self._capacities.extend(getattr(report, "inferbench_capacities", ()))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the JSON result, if one was asked for; a session whose result is lost does not count as passed."""
        ours = self._config.stash[SESSION]
        ours.clear_display()
        if ours.in_use:
            self._notes = self._prune(ours)
        path = ours.settings.json if ours.in_use else None
        if path is None:
            return
        from pytest_inferbench.report.json_result import write_result

        settings = ours.settings
        try:
            write_result(
                path,
                self._records,
                self._capacities,
                settings={
                    "profiles": list(settings.selected),
                    "against": settings.against,
                    "repeats": settings.repeats,
                    "seed": settings.seed,
                    "alpha": settings.alpha,
                    "strict": settings.strict,
                },
            )
        except OSError as error:
            self._trouble = f"--inferbench-json: cannot write {path}: {error.strerror or error}"
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _prune(self, ours: InferbenchSession) -> list[str]:
        """Return what to say about stored baselines whose test is gone, after removing them if that was asked for."""
        settings = ours.settings
        if not ours.collected:
            if not settings.prune:
                return []
            return ["--inferbench-prune: nothing pruned, it needs whole test files, and no pytest-xdist (-n)"]
        if not (settings.prune or self._records):
            return []
        from pytest_inferbench.baselines import BaselineStore
        from pytest_inferbench.pruning import gone

        store = BaselineStore(settings.storage)
        found = gone(store, settings.root, ours.collected)
        if not found:
            return []
        head = "removed stored baselines whose test is gone:"
        if settings.prune:
            for entry in found:
                store.remove(entry)
        else:
            head = "stored baselines whose test is gone (--inferbench-prune removes them):"
        return [head, *dict.fromkeys(f"  {entry.profile}/{entry.machine}: {entry.test}" for entry in found)]

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Show what was measured and judged."""
        if self._trouble:
            terminalreporter.write_line(self._trouble, red=True)
        for note in self._notes:
            terminalreporter.write_line(note, yellow=True)
        if not self._records and not self._capacities:
            return
        from pytest_inferbench.report.terminal import summary

        terminalreporter.section("inferbench")
        for line in summary(self._records, self._capacities):
            for span in line:
                terminalreporter.write(span.text, **({span.style: True} if span.style else {}))
            terminalreporter.line("")
        settings = self._config.stash[SESSION].settings
        if settings.update_baselines:
            terminalreporter.line(f"baselines recorded in {settings.storage}")
        if settings.json is not None and not self._trouble:
            terminalreporter.line(f"result written to {settings.json}")
