"""Figures as inline SVG that follows the page: its colours are the page's CSS variables, its text is text."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

__all__ = ["COLOURS", "HATCHES", "Canvas", "Plot", "cut", "draw", "seconds_axis", "short_seconds", "ticks"]

#: What is drawn in the colour on the left is shown in the variable on the right, light or dark as the page is.
COLOURS = {
    "ink": "#101010",
    "muted": "#202020",
    "grid": "#303030",
    "candidate": "#404040",
    "reference": "#505050",
    "bad": "#606060",
    "band": "#707070",
    "part-1": "#810000",
    "part-2": "#820000",
    "part-3": "#830000",
    "part-4": "#840000",
    "part-5": "#850000",
    "part-6": "#860000",
}
#: Parts are told apart without colours too.
#: Of lines only: each dot of a dotted one is a path of its own, a hundred kilobytes in all.
HATCHES = ("", "///", "\\\\\\", "|||", "xxx", "---")

_STYLE: dict[Any, Any] = {  # typed by some versions of matplotlib only
    "svg.fonttype": "none",
    "svg.hashsalt": "inferbench",
    "path.simplify": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    **dict.fromkeys((f"{what}.labelcolor" for what in ("axes", "legend", "xtick", "ytick")), COLOURS["ink"]),
    "text.color": COLOURS["ink"],
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), COLOURS["muted"]),
    "grid.color": COLOURS["grid"],
}
_WIDTH = 4.5  # inches, 324 units: a little less than a phone, where the text then has its own size
_ID = re.compile(r'\bid="([^"]+)"')
_DECIMALS = re.compile(r"(\d+\.\d)\d+")
_NUMBERS = re.compile(r'\b(?:d|x|y)="[^"]+"')
#: What matplotlib writes and nobody sees; the font is the page's.
_IDLE = re.compile(
    r""" transform="rotate\(-0 [^"]*"|font-family: [^;"]+;? ?|<defs>\s*<style.*?</style>\s*</defs>""", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where a plot is drawn: the axes, from top to bottom."""

    figure: Figure
    axes: tuple[Axes, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn figure with its title and the sentence below it."""

    title: str
    caption: str
    svg: str


@contextmanager
def _style() -> Iterator[None]:
    with matplotlib.rc_context(_STYLE):
        yield


def draw(paint: Callable[[Canvas], None], *, name: str, label: str, height: float, rows: Sequence[float] = (1,)) -> str:
    """Return an SVG element that ``paint`` draws. ``name`` keeps its ids apart from those of other figures,
    ``label`` says in words what it shows; ``height`` in inches; ``rows``: the heights of its axes among each other."""
    with _style():
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots(len(rows), 1, sharex=len(rows) > 1, squeeze=False, gridspec_kw={"height_ratios": rows})
        for one in axes[:, 0]:
            one.patch.set_alpha(0)
        paint(Canvas(figure, tuple(axes[:, 0])))
        buffer = io.StringIO()
        # No date, so that the same figures make the same file.
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    return _embed(buffer.getvalue(), name, label)


def _embed(svg: str, name: str, label: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    svg = _ID.sub(lambda found: f'id="{name}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", svg)
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = _IDLE.sub("", svg)
    svg = _NUMBERS.sub(lambda found: _DECIMALS.sub(r"\1", found[0]).replace("\n", ""), svg)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    view = re.search(r'viewBox="[^"]+"', svg)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {view[0] if view else ""} role="img" aria-label="{_quoted(label)}">'
    )
    return head + re.sub(r"\s+", " ", re.sub(r"^<svg[^>]*>", "", svg, count=1))


def cut(text: str, width: int = 26) -> str:
    """Return ``text`` in at most ``width`` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def short_seconds(value: float) -> str:
    """Return a tick's label: ``"20 ms"``."""
    scale, unit = (1.0, "s") if value >= 1 else (1e-3, "ms") if value >= 1e-3 else (1e-6, "µs")
    return f"{value / scale:g} {unit}"


def seconds_axis(axes: Axes, which: str, low: float, high: float) -> None:
    """Make an axis logarithmic in seconds, from ``low`` to ``high`` with some air, with ticks that people read."""
    low, high = low / 1.08, max(high, low * 1.3) * 1.08
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(ticks(low, high)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_seconds(round(value, 9))))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def ticks(low: float, high: float) -> list[float]:
    """Return the places of three to six round ticks on a log axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if 3 <= len(ticks) <= 6:
            return ticks
    return ticks[:: max(1, len(ticks) // 5)]
