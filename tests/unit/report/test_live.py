"""The one line that tells what is going on."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from pytest_inferbench import events
from pytest_inferbench.events import Booting, BootProgress, Drained, Event, Progress, Ready, Waiting, WarmingUp
from pytest_inferbench.report.live import LiveLine

BOOTING = Booting(workload="bursty", profile="optimized", number=3, total=10)


def issuing(**changes: Any) -> Progress:
    return Progress(
        **{"elapsed": 4.4, "total": 15.0, "scheduled": 600, "issued": 180, "completed": 175, "failed": 0, **changes}
    )


def drained(**changes: Any) -> Drained:
    facts = {"workload": "bursty", "profile": "optimized", "number": 3, "total": 10, "requests": 600, "failed": 0}
    return Drained(**{**facts, "p50": 0.0123, "p95": 0.4, **changes})


def after_booting(event: Event) -> str:
    line = LiveLine()
    line.text(BOOTING)
    return line.text(event)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (BOOTING, "bursty · optimized · run 3/10 · booting"),
        (Ready(seconds=7.26), "bursty · optimized · run 3/10 · ready after 7.3 s"),
        (WarmingUp(requests=48), "bursty · optimized · run 3/10 · warm-up, 48 requests"),
        (issuing(), "bursty · optimized · run 3/10 · 4/15 s · 180/600 issued, 175 done"),
        (issuing(failed=2), "bursty · optimized · run 3/10 · 4/15 s · 180/600 issued, 175 done, 2 failed"),
        (issuing(elapsed=18.2), "bursty · optimized · run 3/10 · draining 3 s · 180/600 issued, 175 done"),
        (drained(), "bursty · optimized · run 3/10 · p50 12.3 ms, p95 400 ms, n = 600"),
        (drained(failed=60, p95=float("inf")), "… p50 12.3 ms, p95 inf, n = 600, 60 failed"),
    ],
)
def test_each_step_of_a_run(event: Event, text: str) -> None:
    """Every event says which run of which workload under which profile, then what is new; failures only if any."""
    shown = after_booting(event)
    assert shown.endswith(text.removeprefix("… "))
    assert len(shown) <= 100


def test_what_the_service_logs_while_it_boots_stays_on_the_line() -> None:
    """Colours, cursor movements and carriage returns of a log do not reach the terminal; the words do."""
    logged = BootProgress(seconds=3.2, line="\x1b[32mINFO\x1b[0m\texport:\r 50%\x07\x9b2J \x1b[1A done\n")
    assert after_booting(logged) == "bursty · optimized · run 3/10 · booting 3 s · INFO export: 50% 2J done"


def test_the_figures_so_far_are_those_of_the_run_under_way() -> None:
    """As soon as there is a request, the line shows median, 95th percentile and how late the generator is."""
    assert after_booting(issuing(p50=0.0123, p95=0.4, delay=0.0004)).endswith(
        "175 done · p50 12.3 ms, p95 400 ms, delay 400 µs"
    )


def test_waiting_names_the_holder() -> None:
    """A wait for the machine is told before there is any run to speak of."""
    text = LiveLine().text(Waiting(holder="pid 12 in /home/a, since 10:00:00"))
    assert "waiting" in text
    assert "pid 12 in /home/a, since 10:00:00" in text


def test_a_new_boot_replaces_the_old_one() -> None:
    """What is told after the next boot is about that run."""
    line = LiveLine()
    line.text(BOOTING)
    line.text(Booting(workload="steady", profile="baseline", number=4, total=10))
    assert line.text(WarmingUp(requests=24)).startswith("steady · baseline · run 4/10 · ")


def test_no_kind_of_event_is_without_words() -> None:
    """Every event of progress has its text."""
    filled = {"str": "words", "int": 3, "float": 3.0, "bool": True, "float | None": 3.0}
    for kind in get_args(events.Event):
        event = kind(**{name: filled[str(annotation)] for name, annotation in kind.__annotations__.items()})
        text = after_booting(event)
        assert isinstance(text, str), kind
        assert text, kind
