"""The plots of what changed between two systems, and of what made up the time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pytest_inferbench.report.figure import COLOURS, HATCHES, Canvas, Plot, cut, draw, ticks
from pytest_inferbench.report.wording import change, figure, number

if TYPE_CHECKING:
    from pytest_inferbench.report.plots import Systems
    from pytest_inferbench.report.record import Record

__all__ = ["mean_parts", "pair_ratios", "parts"]


def pair_ratios(name: str, checks: Sequence[Record]) -> Plot | None:
    """Return a forest plot: the ratio of each pair of runs, and the interval of all against the margin."""
    drawn = [check for check in checks if check["metric"] != "error_rate" and math.isfinite(number(check["ratio"]))]
    rows: list[tuple[str, Record, float | None]] = []
    for check in drawn:
        rows += [(f"pair {k}", check, number(ratio)) for k, ratio in enumerate(check["pair_ratios"], start=1)]
        rows.append((f"{check['metric']}, all", check, None))
    if not rows:
        return None
    ends = [number(end) for check in drawn for end in check["interval"]]
    ends += [ratio for *_, ratio in rows if ratio is not None] + [1.0, *(1 + check["margin"] for check in drawn)]
    finite = [end for end in ends if 0 < end < math.inf]
    low, high = min(finite), max(finite)
    wide = high > 3 * low  # where a linear axis would show a margin of 5 % as nothing
    low, high = (low / 1.1, high * 1.1) if wide else (low - (room := max((high - low) * 0.06, 0.01)), high + room)

    def paint(canvas: Canvas) -> None:
        (axes,) = canvas.axes
        for place, (_, check, ratio) in enumerate(rows):
            margin = 1 + check["margin"]
            axes.fill_betweenx([place - 0.5, place + 0.5], 1 / margin, margin, color=COLOURS["band"], lw=0)
            if ratio is not None:
                if math.isfinite(ratio):
                    axes.plot([ratio], [place], "o", ms=4, color=COLOURS["muted"])
                continue
            start, stop = (min(max(number(end), low), high) for end in check["interval"])
            axes.plot([start, stop], [place, place], lw=3, color=COLOURS["candidate"], solid_capstyle="butt")
            axes.plot([number(check["ratio"])], [place], "D", ms=7, color=COLOURS["candidate"])
            axes.axhline(place + 0.5, color=COLOURS["grid"], lw=0.8)
        axes.axvline(1, color=COLOURS["ink"], lw=1)
        axes.set_yticks(range(len(rows)), [text for text, *_ in rows])
        for tick, (_, _, ratio) in zip(axes.get_yticklabels(), rows, strict=True):
            tick.set_fontweight("normal" if ratio is not None else "bold")
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(low, high)
        if wide:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator(ticks(low, high)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("candidate / reference; 1: no change")

    summary = "; ".join(f"{check['metric']} {change(check)}, {check['outcome']}" for check in drawn)
    caption = (
        "Each dot is one pair of runs; the diamond is the estimate over all pairs, with its interval. The shaded range "
        "is the margin. A latency to its right is slower; a throughput to its left is lower."
    )
    svg = draw(paint, name=f"{name}-pairs", label=f"Ratios of the pairs. {summary}.", height=0.8 + 0.19 * len(rows))
    return Plot("Each pair of runs against the margin", caption, svg)


def parts(name: str, systems: Systems) -> Plot | None:
    """Return where the mean latency went on each system, as stacked bars."""
    split = {role: mean_parts(system) for role, (_, system) in systems.items()}
    names = list(dict.fromkeys(part for found in split.values() for part in found))
    if not any(found for found in split.values()):
        return None

    def paint(canvas: Canvas) -> None:
        (axes,) = canvas.axes
        longest = 0.0
        for place, found in enumerate(split.values()):
            left = 0.0
            for k, part in enumerate(names):
                width = 1000 * max(found.get(part, 0.0), 0.0)
                axes.barh(
                    place,
                    width,
                    0.55,
                    left=left,
                    color=COLOURS[f"part-{k % 6 + 1}"],
                    hatch=HATCHES[k % 6],
                    edgecolor=COLOURS["muted"],
                    lw=0.6,
                    label=part if place == 0 else None,
                )
                left += width
            longest = max(longest, left)
            if found:
                total = figure("p50", left / 1000)
                axes.annotate(total, (left, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
        axes.set_xlim(0, 1.25 * max(longest, 1e-6))
        axes.set_yticks(range(len(split)), [cut(systems[role][0].removeprefix("profile "), 18) for role in split])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("mean milliseconds per good answer")
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2)

    summary = "; ".join(
        f"{systems[role][0]}: " + ", ".join(f"{part} {figure('p50', seconds)}" for part, seconds in found.items())
        for role, found in split.items()
    )
    caption = "The parts that the service reported (Server-Timing), the delay of the load generator, and the remainder."
    height = 1.1 + 0.45 * len(split) + 0.2 * math.ceil(len(names) / 2)
    svg = draw(paint, name=f"{name}-parts", label=f"Where the time was spent. {summary}.", height=height)
    return Plot("Where the time was spent", caption, svg)


def mean_parts(system: Record) -> dict[str, float]:
    """Return the mean seconds of each part over the runs of a system."""
    found: dict[str, list[float]] = {}
    for run in system["runs"]:
        for part, seconds in run.get("breakdown", {}).items():
            if seconds is not None:
                found.setdefault(part, []).append(number(seconds))
    return {part: math.fsum(values) / len(values) for part, values in found.items()}
