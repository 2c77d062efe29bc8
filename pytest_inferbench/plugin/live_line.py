"""What a person sees while it is being measured: one line that is rewritten, or plain lines where that cannot be."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from pytest_inferbench.plugin.settings import in_ci

if TYPE_CHECKING:
    from pytest_inferbench.events import Event

__all__ = ["Display"]


class Display:
    """Shows events. A line is rewritten where a person looks at a terminal; in a file, in CI and with ``-s`` each run
    that is over is a line of its own; with ``-q`` and in pytest-xdist's workers there is none. A wait for the machine
    is always told.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager
        self._quiet = config.option.verbose < 0
        self._plain = self._quiet or in_ci() or config.option.capture == "no"
        self._reporter: Any = None
        self._capture: Any = None
        self._line: Any = None
        self._shown = False

    def show(self, event: Event) -> None:
        """Show what has happened."""
        from pytest_inferbench.events import Drained, Probed, Waiting
        from pytest_inferbench.report.live import LiveLine

        if self._line is None:
            # Not in the constructor: the terminal reporter is registered after us.
            self._reporter = self._plugins.get_plugin("terminalreporter")
            self._capture = self._plugins.get_plugin("capturemanager")
            self._line = LiveLine()
        if self._reporter is None:
            return
        text = self._line.text(event)
        with self._uncaptured():
            if self._reporter.isatty and not self._plain:
                width = self._reporter._tw.fullwidth - 1
                self._write(f"\r{text[:width]:<{width}}")
                self._shown = True
            elif isinstance(event, Waiting) or (isinstance(event, Drained | Probed) and not self._quiet):
                self._reporter.ensure_newline()
                self._reporter.write_line(text)
                self._reporter.flush()  # into a pipe or a CI log it would come when all is over

    def clear(self) -> None:
        """Remove the line, if one is shown, and bring back what it covered."""
        if self._shown:
            columns = self._reporter._tw.fullwidth
            before = str(getattr(self._reporter._tw, "_current_line", ""))
            with self._uncaptured():
                self._write("\r" + " " * (columns - 1) + "\r" + before[len(before) // columns * columns :])
            self._shown = False

    def _write(self, text: str) -> None:
        # Past the reporter: it shall go on where it was, in the line that is covered meanwhile.
        self._reporter._tw._file.write(text)
        self._reporter._tw._file.flush()

    def _uncaptured(self) -> contextlib.AbstractContextManager[None]:
        if self._capture is None:
            return contextlib.nullcontext()
        context: contextlib.AbstractContextManager[None] = self._capture.global_and_fixture_disabled()
        return context
