"""One line that tells what is going on right now."""

from __future__ import annotations

from pytest_inferbench.events import Booting, BootProgress, Drained, Event, Issuing, Ready, Waiting, WarmingUp
from pytest_inferbench.quantity import format_seconds

__all__ = ["LiveLine"]


class LiveLine:
    """Turns events into the text of one line, which the caller shows in place of the one before."""

    def __init__(self) -> None:
        self._where = ""

    def text(self, event: Event) -> str:
        """Return what to show now; at most 100 columns for usual names."""
        match event:
            case Waiting(holder=holder):
                return f"inferbench: waiting, another session loads this machine ({holder})"
            case Booting():
                self._where = f"{event.workload} · {event.profile} · run {event.number}/{event.total}"
                return f"{self._where} · booting"
            case BootProgress(seconds=seconds, line=line):
                return f"{self._where} · booting {seconds:.0f} s · {line.strip()}"
            case Ready(seconds=seconds):
                return f"{self._where} · ready after {seconds:.1f} s"
            case WarmingUp(requests=requests):
                return f"{self._where} · warm-up, {requests} requests"
            case Issuing():
                clock = f"{min(event.elapsed, event.total):.0f}/{event.total:.0f} s"
                phase = clock if event.elapsed <= event.total else f"draining {event.elapsed - event.total:.0f} s"
                failed = f", {event.failed} failed" if event.failed else ""
                return (
                    f"{self._where} · {phase} · {event.issued}/{event.scheduled} issued, {event.completed} done{failed}"
                )
            case Drained():
                failed = f", {event.failed} failed" if event.failed else ""
                return (
                    f"{self._where} · p50 {format_seconds(event.p50)}, p95 {format_seconds(event.p95)}, "
                    f"n = {event.requests}{failed}"
                )
