"""Makes the pictures of the README and the tutorial from a real session, on the machine that it runs on.

The session is the tutorial's: record a baseline of docs/examples/http, make the service a quarter slower, run again.
It takes about four minutes. Needs Chromium, and ``pip install -e '.[report]' rich pillow``:

    python docs/images/make.py
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "http"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: What the picture of the terminal is of.
SHOWN = ("-q", "--tb=short", "--inferbench-html=report.html")
PAGE = """<!DOCTYPE html><meta charset="utf-8"><style>
body {{ margin: 0; background: {background}; color: {foreground}; padding: 14px 18px; }}
pre {{ margin: 0; font: 14px/1.32 "DejaVu Sans Mono", Menlo, Consolas, monospace; }}
</style><pre>{code}</pre>"""


def session(folder: Path, *options: str, status: int) -> str:
    """Run the benchmarks as a reader would, without pytest's header; return what the terminal showed.

    ``status``: the exit status without which there is nothing to show.
    """
    command = [sys.executable, "-m", "pytest", "benchmarks/", "--color=yes", *options]
    # A machine's own plugins and settings have no business in the picture.
    environment = {**os.environ, "COLUMNS": "108", "PYTEST_ADDOPTS": "--no-header -p no:cacheprovider"}
    for name in ("CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "NO_COLOR"):
        environment.pop(name, None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, f"this machine was not quiet enough:\n{done.stdout}{done.stderr}"
    return done.stdout


def terminal_page(command: str, output: str) -> str:
    """Return a page that shows the terminal."""
    console = Console(record=True, width=108, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi(output.rstrip()))
    return console.export_html(theme=MONOKAI, inline_styles=True, code_format=PAGE)


def picture(page: Path, target: Path, width: int, height: int, *, colours: int) -> None:
    """Take a picture of a page, cut off what is empty below and at the right, and store it small."""
    chromium = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    assert chromium is not None, "no Chromium on this machine"
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        command += [f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={target}"]
        command += ["--blink-settings=preferredColorScheme=1"]
        subprocess.run([*command, page.as_uri()], capture_output=True, check=True, timeout=120)
    image = Image.open(target).convert("RGB")
    empty = Image.new("RGB", image.size, image.getpixel((1, 1)))
    used = ImageChops.difference(image, empty).getbbox()
    assert used is not None
    image = image.crop((0, 0, image.width, min(image.height, used[3] + 14)))
    image.quantize(colours, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target.name}: {image.width} x {image.height}, {target.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Run the session and take the pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        shutil.copytree(EXAMPLE, folder)
        session(folder, "--update-baselines", status=0)
        server = folder / "server.py"
        server.write_text(server.read_text(encoding="utf-8").replace("0.004", "0.005"), encoding="utf-8")
        output = session(folder, *SHOWN, status=1)
        page = Path(name) / "terminal.html"
        page.write_text(terminal_page(f"pytest benchmarks/ {' '.join(SHOWN)}", output), encoding="utf-8")
        picture(page, HERE / "terminal.png", 950, 2000, colours=128)
        picture(folder / "report.html", HERE / "report.png", 1100, 1500, colours=96)


if __name__ == "__main__":
    main()
