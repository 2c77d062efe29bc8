"""Collects what the tests measured, in whichever process they ran, and reports it at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_inferbench.plugin.session import SESSION, InferbenchSession
from pytest_inferbench.plugin.settings import Settings

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from pytest_inferbench.report.annotations import FailedTest

__all__ = ["Reporting"]


class Reporting:
    """Hooks of the process that talks to the user."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._records: list[dict[str, Any]] = []
        self._capacities: list[dict[str, Any]] = []
        self._failures: list[FailedTest] = []
        self._recorded: list[str] = []
        self._rerun: set[tuple[str, int]] = set()
        self._trouble: list[str] = []
        self._written: list[Path] = []
        self._notes: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the records that came with a test's report."""
        attempt = (report.nodeid, getattr(report, "rerun", 0))
        if report.outcome == "rerun":  # type: ignore[comparison-overlap]  # pytest-rerunfailures has an outcome of its own
            self._rerun.add(attempt)
        if attempt in self._rerun:
            # The properties of the last attempt are about the runs of all: JUnit's file is to hold each name once.
            report.user_properties = [pair for pair in report.user_properties if not pair[0].startswith("inferbench.")]
        taken = getattr(report, "inferbench", {})
        self._records.extend(taken.get("measurements", ()))
        self._capacities.extend(taken.get("capacities", ()))
        self._recorded.extend(taken.get("recorded", ()))
        self._trouble.extend(taken.get("trouble", ()))
        self._notes.extend(note for note in taken.get("notes", ()) if note not in self._notes)
        if report.failed and hasattr(report, "inferbench"):
            self._failures.append(_failure(report, self._config.rootpath))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the files that were asked for; a session whose result is lost does not count as passed."""
        ours = self._config.stash[SESSION]
        ours.clear_display()
        if not ours.in_use:
            return
        self._notes += self._prune(ours)
        for flag, path, write in self._outputs(ours.settings):
            try:
                write(path)
            except OSError as error:
                self._trouble.append(f"{flag}: cannot write {path}: {error.strerror or error}")
            except Exception as error:  # noqa: BLE001  # each report for itself: the others are written all the same
                self._trouble.append(f"{flag}: {path} could not be made: {type(error).__name__}: {error}")
            else:
                self._written.append(path)
        if self._trouble and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _outputs(self, settings: Settings) -> Iterator[tuple[str, Path, Callable[[Path], None]]]:
        """Yield what asked for a file, the file, and what writes it."""
        described = describe(settings)
        if settings.json is not None:
            from pytest_inferbench.report.json_result import write_result
            from pytest_inferbench.report.latencies import without_raw

            records = self._records if settings.json_latencies else without_raw(self._records)
            yield (
                "--inferbench-json",
                settings.json,
                lambda path: write_result(path, records, self._capacities, settings=described),
            )
        if settings.html is not None:
            from pytest_inferbench.report.html import html, write_html

            yield (
                "--inferbench-html",
                settings.html,
                lambda path: write_html(path, html(self._records, self._capacities, settings=described)),
            )
        anything = bool(self._records or self._capacities)
        if settings.markdown is not None or (settings.step_summary is not None and anything):
            from pytest_inferbench.report.markdown import append_markdown, markdown, write_markdown

            def text() -> str:
                return markdown(self._records, self._capacities, alpha=settings.alpha)

            if settings.markdown is not None:
                yield "--inferbench-markdown", settings.markdown, lambda path: write_markdown(path, text())
            if settings.step_summary is not None and anything:
                yield "GITHUB_STEP_SUMMARY", settings.step_summary, lambda path: append_markdown(path, text())

    def _prune(self, ours: InferbenchSession) -> list[str]:
        """Return what to say about stored baselines whose test is gone, after removing them if that was asked for."""
        settings = ours.settings
        if not ours.collected:
            if not settings.prune:
                return []
            return ["--inferbench-prune: nothing pruned, it needs whole test files, and no pytest-xdist (-n)"]
        if not (settings.prune or self._records):
            return []
        from pytest_inferbench.storage.baselines import BaselineStore, without_test

        store = BaselineStore(settings.storage)
        found = without_test(store, settings.root, ours.collected)
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
        for trouble in self._trouble:
            terminalreporter.write_line(trouble, red=True)
        for note in self._notes:
            terminalreporter.write_line(note, yellow=True)
        self._annotate(terminalreporter)
        if not self._records and not self._capacities:
            return
        from pytest_inferbench.report.terminal import summary

        terminalreporter.section("inferbench")
        try:
            alpha = self._config.stash[SESSION].settings.alpha
            lines = list(summary(self._records, self._capacities, alpha=alpha))
        except Exception as error:  # noqa: BLE001  # pytest's own summary, and what was written, still follow
            terminalreporter.write_line(f"the summary could not be made: {type(error).__name__}: {error}", red=True)
            lines = []
        for line in lines:
            for span in line:
                terminalreporter.write(span.text, **({span.style: True} if span.style else {}))
            terminalreporter.line("")
        settings = self._config.stash[SESSION].settings
        if settings.update_baselines and self._recorded:
            number = f"{len(self._recorded)} baseline{'s' if len(self._recorded) > 1 else ''}"
            terminalreporter.line(f"{number} recorded in {settings.storage}{_no_control(self._records)}")
        elif settings.update_baselines:
            terminalreporter.write_line("no baseline was recorded: no measurement was valid", yellow=True)
        start = self._config.invocation_params.dir
        for path in self._written:
            shown = path.relative_to(start) if path.is_relative_to(start) else path
            terminalreporter.line(f"result written to {shown}")

    def _annotate(self, terminalreporter: TerminalReporter) -> None:
        """Mark what failed in the pull request, unless the plugin made for that does so."""
        ours = self._config.stash[SESSION]
        other = self._config.pluginmanager.hasplugin("pytest_github_actions_annotate_failures")
        if not self._failures or not ours.settings.annotate or other:
            return
        from pytest_inferbench.report.annotations import annotation

        for failure in self._failures:
            terminalreporter.ensure_newline()
            terminalreporter.line(annotation(failure, workspace=ours.settings.workspace))


def describe(settings: Settings) -> dict[str, Any]:
    """Return what a result says of the session's settings."""
    return {
        "profiles": list(settings.selected),
        "against": settings.against,
        "repeats": settings.repeats,
        "duration": settings.duration,
        "budget": settings.budget,
        "seed": settings.seed,
        "alpha": settings.alpha,
        "strict": settings.strict,
    }


def _failure(report: pytest.TestReport, root: Path) -> FailedTest:
    """Return where a test failed and what its verdicts say; the line of the assert if it lies in the test's file."""
    from pytest_inferbench.report.annotations import FailedTest

    file, line, _ = report.location
    path, number = root / file, (line or 0) + 1
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None and (root / crash.path) == path:
        number = crash.lineno
    records: list[dict[str, Any]] = getattr(report, "inferbench", {}).get("measurements", [])
    failing = [verdict["explanation"] for record in records for verdict in record["verdicts"] if not verdict["passed"]]
    message = "\n\n".join(failing) or (crash.message if crash is not None else report.longreprtext)
    return FailedTest(test=report.nodeid.rpartition("::")[2], path=path, line=number, message=message)


def _no_control(records: Sequence[dict[str, Any]]) -> str:
    """Return why --inferbench-control will not work with baselines of these records; empty if it will."""
    revisions = {record["environment"]["revision"] for record in records}
    if any(revision is not None and revision.endswith("-dirty") for revision in revisions):
        return " (of a checkout with changes: --inferbench-control needs one that is in a commit)"
    return ""
