"""Progress of a build on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

_WIDTH = 30


@dataclass(slots=True)
class Progress:
    """Counts weighted steps of one build. ``total`` is the sum of the weights that :meth:`step` will be given."""

    title: str
    total: float
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    _done: float = 0.0
    _started: float = field(default_factory=time.monotonic)
    _last_line: str = ""

    def step(self, what: str, weight: float = 0.0) -> None:
        """``weight`` more of the work is done, and ``what`` comes next (or has just ended)."""
        self._done = min(self.total, self._done + weight)
        share = self._done / self.total
        elapsed = time.monotonic() - self._started
        if self.stream.isatty():
            filled = round(share * _WIDTH)
            bar = "█" * filled + "░" * (_WIDTH - filled)
            self.stream.write(f"\r{self.title} {bar} {share:4.0%} {elapsed:4.0f}s  {what:<28.28}")
            if share >= 1.0:
                self.stream.write("\n")
        else:
            # In a log, a line per change of step is progress; a line per batch would be noise.
            line = f"{self.title}: {what}"
            if line == self._last_line and share < 1.0:
                return
            self._last_line = line
            self.stream.write(f"{line} ({share:.0%}, {elapsed:.0f} s)\n")
        self.stream.flush()
