"""--inferbench-html: one file, opened from disk in a real browser."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_inferbench.report.json_result import SCHEMA_PATH
from tests.plugin.conftest import CALM_CONFTEST, ONE_MEASUREMENT, Bench

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

GATED = """
from pytest_inferbench import SLO

async def test_gated(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.has_not_regressed(metrics=["p50"])
    assert measurement.meets(SLO(p50="1s"))
"""
#: Runs in the page that holds the report in a frame as wide as a phone.
LOOK = """
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  const page = frame.contentDocument;
  const drawn = [...page.querySelectorAll("figure svg")].map((svg) => {
    const box = svg.getBoundingClientRect();
    const text = svg.querySelector("text");
    return {width: box.width, height: box.height, strokes: svg.querySelectorAll("path").length,
            label: svg.getAttribute("aria-label"), ink: getComputedStyle(text).fill};
  });
  document.body.dataset.seen = JSON.stringify({
    drawn, scroll: page.documentElement.scrollWidth, width: page.documentElement.clientWidth,
    background: getComputedStyle(page.body).backgroundColor,
    ids: [...page.querySelectorAll("[id]")].map((one) => one.id),
    links: [...page.querySelectorAll("a[href^='#']")].map((one) => one.getAttribute("href").slice(1)),
  });
});
"""


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The page, once a test has made it."""
    return {}


@pytest.fixture
def report(bench: Bench, made: dict[str, str]) -> Path:
    """The report of a session with a regression, made with pytest-xdist: every figure crossed a process."""
    path = bench.path / "out" / "report.html"
    if made:
        path.parent.mkdir()
        path.write_text(made["page"], encoding="utf-8")
        return path
    bench.configure(profiles={"baseline": {"answer": 0.1}, "slow": {"answer": 0.2}}, duration="2s")
    bench.pytester.makeconftest(CALM_CONFTEST)
    bench.pytester.makepyfile(GATED)
    session = bench.run("-n1", "--profile=slow", "--against=baseline", f"--inferbench-html={path}", repeats=2)
    session.result.assert_outcomes(failed=1)
    session.result.stdout.fnmatch_lines(["result written to *report.html"])
    assert "raw" not in session.measurements[0]["runs"][0], "the JSON result stays small"
    made["page"] = path.read_text(encoding="utf-8")
    return path


def browse(page: Path, *options: str) -> tuple[str, str]:
    """Open a file in headless Chromium; return the document as it then is, and what the console said."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={page.parent / 'browser'}", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"]
    done = subprocess.run(
        [*command, *options, page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "HOME": str(page.parent)},
    )
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def look(page: Path, *options: str) -> dict[str, Any]:
    """Return what a phone's browser makes of the report."""
    frame = page.with_name("frame.html")
    text = html.escape(page.read_text(encoding="utf-8"))
    shown = f'<iframe style="width:390px;height:2000px;border:0" srcdoc="{text}"></iframe><script>{LOOK}</script>'
    frame.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{shown}</body>", encoding="utf-8")
    document, console = browse(frame, *options)
    assert console == ""
    found = re.search(r'data-seen="([^"]*)"', document)
    assert found is not None, "the frame did not load"
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    return seen


def test_the_file_needs_nothing_else(report: Path) -> None:
    """No script, no image, style, font or frame from elsewhere; nothing but references within the page."""
    text = report.read_text(encoding="utf-8")
    assert "<script" not in text
    assert re.findall(r'(?:src|href|srcset)="(?!#|data:,")[^"]*"', text) == []
    assert "@import" not in text
    assert set(re.findall(r"url\((?!#)", text)) == set()
    assert len(text.encode()) < 400_000, "one measurement of many"


@needs_chromium
def test_it_opens_from_disk_with_its_verdicts_and_without_a_complaint(report: Path) -> None:
    """The document holds headline, verdicts, figures and how to reproduce it; the console stays empty."""
    document, console = browse(report)
    assert console == ""
    text = html.unescape(re.sub(r"<[^>]+>", " ", document))
    for part in (
        "REGRESSED: 1 of 1 verdict",
        "steady under profile slow, against profile baseline",
        "Environment",
        "How to reproduce",
        "--profile slow --against baseline --inferbench-repeats=2",
        "worse by more than",
    ):
        assert part in text, part


@needs_chromium
@pytest.mark.parametrize(("scheme", "dark"), [("1", False), ("0", True)], ids=["light", "dark"])
def test_the_plots_are_drawn_and_a_phone_shows_them(report: Path, scheme: str, dark: bool) -> None:
    """Each plot has an area, strokes and a description; nothing is wider than the screen; colours follow the scheme."""
    seen = look(report, f"--blink-settings=preferredColorScheme={scheme}")
    titles = {plot["label"].partition(".")[0] for plot in seen["drawn"]}
    assert titles == {
        "Distribution",
        "Percentiles",
        "Latency over time",
        "Ratios of the pairs",
        "Where the time was spent",
    }
    assert all(plot["width"] > 300 and plot["height"] > 60 and plot["strokes"] > 5 for plot in seen["drawn"])
    assert seen["scroll"] <= seen["width"] <= 390
    assert len(set(seen["ids"])) == len(seen["ids"])
    assert set(seen["links"]) <= set(seen["ids"])
    brightness = sum(map(int, re.findall(r"\d+", seen["background"])[:3])) / 3
    assert (brightness < 60) is dark
    inks = {sum(map(int, re.findall(r"\d+", plot["ink"])[:3])) / 3 > 128 for plot in seen["drawn"]}
    assert inks == {dark}, "text is light on dark and dark on light"


def test_without_the_extra_the_session_ends_before_it_begins(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to install; nothing was booted."""
    monkeypatch.setattr("pytest_inferbench.plugin.settings.find_spec", lambda name: None)
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    result = bench.pytester.runpytest_inprocess("--inferbench-html=report.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: inferbench: --inferbench-html needs jinja2 and matplotlib: *pip install 'pytest-inferbench?report?'"]
    )
    assert bench.boots == []


def test_a_session_without_measurements_makes_a_page_too(bench: Bench) -> None:
    """Whoever opens the page learns that nothing was judged."""
    bench.pytester.makepyfile("def test_nothing(): pass")
    assert bench.pytester.runpytest_inprocess("--inferbench-html=report.html", "--profile=baseline").ret == 0
    assert "nothing was judged" in (bench.path / "report.html").read_text(encoding="utf-8")


def test_the_json_result_holds_every_request_if_asked(bench: Bench) -> None:
    """With --inferbench-json-latencies each run has due times, latencies and failures, to the schema."""
    bench.configure(profiles={"baseline": {"delay": 0.004, "dies_after": 30}})
    bench.pytester.makepyfile(ONE_MEASUREMENT)
    session = bench.run("--inferbench-json-latencies")
    jsonschema.validate(session.document, json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))
    (run,) = session.measurements[0]["runs"]
    raw = run["raw"]
    assert len(raw["due_us"]) == len(raw["latency_us"]) == run["requests"]
    assert raw["due_us"] == sorted(raw["due_us"])
    assert raw["due_us"][0] == 0
    assert sum(map(len, raw["failed"].values())) == run["failed"] > 0
