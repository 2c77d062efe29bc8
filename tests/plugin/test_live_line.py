"""The live line: one line that tells what goes on, on a terminal only."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from tests.plugin.conftest import ASYNCIO_ADVICE, ONE_MEASUREMENT, Bench


def on_a_terminal(bench: Bench, columns: int) -> str:
    """Run pytest with a pseudo-terminal of that width as its output; return all that it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command = [sys.executable, "-m", "pytest", ASYNCIO_ADVICE, "-p", "no:benchmark", "--inferbench-repeats=1"]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        command, cwd=bench.path, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
            while chunk := os.read(ours, 65536):
                written += chunk
        os.close(ours)
    assert process.returncode == 0, written.decode()
    return written.decode()


def test_on_a_terminal_the_line_is_rewritten_and_removed(bench: Bench) -> None:
    """Booting, warm-up, issuing and the figures follow each other on one line, cut to the terminal, then removed."""
    bench.configure(duration="0.6s", warmup="{ requests = 8 }")
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    text = on_a_terminal(bench, 60)
    shown = [part for part in text.replace("\n", "\r").split("\r") if part.startswith("steady · baseline")]
    assert all(len(part) <= 60 for part in shown), shown
    phases = ("booting", "ready after", "warm-up", "issued", "p50")
    first = [next((i for i, part in enumerate(shown) if phase in part), None) for phase in phases]
    assert None not in first, shown
    assert first == sorted(first, key=lambda index: index or 0)
    last = text.rindex(shown[-1].rstrip())
    blank, restored = text[last:].split("\r")[1:3]
    assert blank.strip() == "", "the last line is blanked out"
    assert restored.startswith("test_on_a_terminal_the_line_is_rewritten_and_removed.py ."), "pytest's own is back"


def test_the_line_has_the_figures_of_the_run_under_way(bench: Bench) -> None:
    """While requests are issued: how many are, how many are done, p50 and p95 so far, and how late the generator is."""
    bench.configure(duration="1s", rate=40)
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    text = on_a_terminal(bench, 140)
    pattern = r"/1 s · \d+/\d+ issued, \d+ done · p50 [\d.]+ (µs|ms), p95 [\d.]+ (µs|ms), delay [\d.]+ (µs|ms)"
    assert re.search(pattern, text), text


@pytest.mark.parametrize(("option", "lines"), [("-s", 2), ("-v", 2), ("-q", 0)])
def test_without_a_terminal_each_run_is_a_plain_line(bench: Bench, option: str, lines: int) -> None:
    """A file or a CI log says after each run what it came to, once and without control characters; -q says nothing."""
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run(option, repeats=2)
    session.result.assert_outcomes(passed=1)
    told = [line for line in session.output.splitlines() if line.startswith("steady · baseline · run ")]
    assert [line.partition(" · p50 ")[0] for line in told] == [f"steady · baseline · run {k}/2" for k in (1, 2)][:lines]
    assert "booting" not in session.output
    assert "\r" not in session.output


def test_a_ci_system_with_a_terminal_gets_plain_lines(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some CI systems have a pseudo-terminal: what is rewritten there fills the log."""
    monkeypatch.setenv("CI", "true")
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    text = on_a_terminal(bench, 90)
    assert "booting" not in text
    assert "steady · baseline · run 1/1 · p50 " in text
