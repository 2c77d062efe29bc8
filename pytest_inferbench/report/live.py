"""One line that tells what is going on right now."""

from __future__ import annotations

import re

from pytest_inferbench.events import (
    Booting,
    BootProgress,
    Drained,
    Event,
    Probed,
    Progress,
    Ready,
    TurnBegan,
    Waiting,
    WarmingUp,
)
from pytest_inferbench.units import format_seconds

__all__ = ["LiveLine"]

#: Colours and cursor movements (ECMA-48 control sequences), then every other control character.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f]")


class LiveLine:
    """Turns events into the text of one line, which the caller shows in place of the one before."""

    def __init__(self) -> None:
        self._where = ""

    def text(self, event: Event) -> str:
        """Return what to show now; about 100 columns for usual names."""
        match event:
            case Waiting(holder=holder):
                return f"inferbench: waiting, another session loads this machine ({holder})"
            case Booting():
                self._where = f"{event.workload} · {event.profile} · run {event.number}/{event.total}"
                return f"{self._where} · booting"
            case BootProgress(seconds=seconds, line=line):
                return f"{self._where} · booting {seconds:.0f} s · {_printable(line)}"
            case Ready(seconds=seconds):
                return f"{self._where} · ready after {seconds:.1f} s"
            case WarmingUp(requests=requests):
                return f"{self._where} · warm-up, {requests} requests"
            case TurnBegan():
                self._where = f"{event.workload} · {event.profile} · run {event.number}/{event.total}"
                self._where += f" · turn {event.turn}/{event.turns}"
                return self._where
            case Progress():
                clock = f"{min(event.elapsed, event.total):.0f}/{event.total:.0f} s"
                phase = clock if event.elapsed <= event.total else f"draining {event.elapsed - event.total:.0f} s"
                failed = f", {event.failed} failed" if event.failed else ""
                counts = f"{event.issued}/{event.scheduled} issued, {event.completed} done{failed}"
                return f"{self._where} · {phase} · {counts}{_so_far(event)}"
            case Probed():
                found = "held" if event.held else "did not hold"
                return f"{self._where} · {event.rate:.1f}/s {found}, p95 {format_seconds(event.p95)}"
            case Drained():
                self._where = f"{event.workload} · {event.profile} · run {event.number}/{event.total}"
                failed = f", {event.failed} failed" if event.failed else ""
                return (
                    f"{self._where} · p50 {format_seconds(event.p50)}, p95 {format_seconds(event.p95)}, "
                    f"n = {event.requests}{failed}"
                )


def _so_far(event: Progress) -> str:
    if event.p50 is None or event.p95 is None or event.delay is None:
        return ""
    p50, p95, delay = map(format_seconds, (event.p50, event.p95, event.delay))
    return f" · p50 {p50}, p95 {p95}, delay {delay}"


def _printable(text: str) -> str:
    """Return a line of a log without what would move the cursor or colour what comes after it."""
    return " ".join(_CONTROL.sub(" ", text).split())
