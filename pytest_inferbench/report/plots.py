"""The plots of one measurement's latencies, drawn from its record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import PercentFormatter

from pytest_inferbench.report.figure import COLOURS, Canvas, Plot, cut, draw, seconds_axis
from pytest_inferbench.report.wording import figure, number

if TYPE_CHECKING:
    from pytest_inferbench.report.record import Record

__all__ = ["Systems", "distribution", "over_time", "percentiles"]

_CURVE_POINTS = 300
_DOTS = 1500
_LINES = {"candidate": "-", "reference": (0, (4, 2))}
_MARKS = {"candidate": "o", "reference": "s"}


Systems = dict[str, tuple[str, "Record"]]


def latencies(system: Record) -> list[float]:
    """Return all latencies of a system in seconds, sorted; failed requests are infinite, as in percentiles."""
    found: list[float] = []
    for run in system["runs"]:
        if "raw" in run:
            found += _run_latencies(run["raw"])
    return sorted(found)


def _run_latencies(raw: Record) -> list[float]:
    failed = {position for positions in raw["failed"].values() for position in positions}
    return [
        math.inf if us is None or position in failed else max(us, 1) / 1e6
        for position, us in enumerate(raw["latency_us"])
    ]


def distribution(name: str, systems: Systems) -> Plot | None:
    """Return the empirical distribution of both systems' latencies, on a log axis."""
    values = {role: latencies(system) for role, (_, system) in systems.items()}
    finite = [value for found in values.values() for value in found if math.isfinite(value)]
    if not finite:
        return None

    def paint(canvas: Canvas) -> None:
        (axes,) = canvas.axes
        for role, found in values.items():
            places = sorted({round(k * (len(found) - 1) / _CURVE_POINTS) for k in range(_CURVE_POINTS + 1)})
            points = [(found[k], (k + 1) / len(found)) for k in places if math.isfinite(found[k])]
            axes.step(
                *(zip(*points, strict=True) if points else ([], [])),
                where="post",
                color=COLOURS[role],
                ls=_LINES[role],
                lw=1.8,
                label=cut(systems[role][0]),
            )
        seconds_axis(axes, "x", min(finite), max(finite))
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("latency from when the request was due")
        axes.set_ylabel("requests answered")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)

    counts = "; ".join(f"{systems[role][0]}: n = {len(found)}" for role, found in values.items())
    caption = f"The share of all requests answered within a given time. Failed requests are never answered. {counts}."
    return Plot("Distribution", caption, draw(paint, name=f"{name}-ecdf", label=f"Distribution. {caption}", height=2.9))


def percentiles(name: str, systems: Systems) -> Plot | None:
    """Return p50, p95 and p99 of both systems with their intervals."""
    rows = [
        (metric, role, number(system["figures"][metric]["estimate"]), system["figures"][metric]["interval"])
        for metric in ("p50", "p95", "p99")
        for role, (_, system) in systems.items()
    ]
    ends = [value for *_, estimate, ends in rows for value in (estimate, *(number(end) for end in ends or ()))]
    finite = [value for value in ends if 0 < value < math.inf]
    if not finite:
        return None
    top = max(finite) * 1.15

    def paint(canvas: Canvas) -> None:
        (axes,) = canvas.axes
        for place, (metric, role, estimate, interval) in enumerate(rows):
            if interval is not None:
                low, high = (min(max(number(end), min(finite)), top) for end in interval)
                axes.plot([low, high], [place, place], color=COLOURS[role], lw=4, alpha=0.45, solid_capstyle="butt")
            claimed = interval is not None
            axes.plot(
                [min(estimate, top)],
                [place],
                _MARKS[role],
                color=COLOURS[role],
                mfc=COLOURS[role] if claimed else "none",
                ms=7,
                label=cut(systems[role][0]) if metric == "p50" else None,
            )
        seconds_axis(axes, "x", min(finite), top)
        middles = [k + (len(systems) - 1) / 2 for k in range(0, len(rows), len(systems))]
        axes.set_yticks(middles, [rows[k][0] for k in range(0, len(rows), len(systems))])
        for place in range(len(systems), len(rows), len(systems)):
            axes.axhline(place - 0.5, color=COLOURS["grid"], lw=0.8)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("latency")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)

    caption = "Bars are intervals. A hollow marker has no interval, because there are too few requests."
    summary = "; ".join(
        f"{metric} of {systems[role][0]} {figure(metric, estimate)}" for metric, role, estimate, _ in rows
    )
    svg = draw(paint, name=f"{name}-percentiles", label=f"Percentiles. {summary}.", height=1.3 + 0.24 * len(rows))
    return Plot("Percentiles with their intervals", caption, svg)


def over_time(name: str, systems: Systems) -> Plot | None:
    """Return latencies over the time of one run of each system, the arrivals, and what failed.

    The run is the candidate's whose p95 is in the middle of all, and the other system's of the same arrivals.
    """
    candidate = [run for run in systems["candidate"][1]["runs"] if "raw" in run]
    if not candidate:
        return None
    middle = sorted(candidate, key=lambda run: number(run["p95"]))[(len(candidate) - 1) // 2]
    runs = {"candidate": middle}
    if "reference" in systems:
        partner = [r for r in systems["reference"][1]["runs"] if r["digest"] == middle["digest"] and "raw" in r]
        runs |= {"reference": partner[0]} if partner else {}
    values = {role: _run_latencies(run["raw"]) for role, run in runs.items()}
    finite = [value for found in values.values() for value in found if math.isfinite(value)]
    if not finite:
        return None
    due = [us / 1e6 for us in middle["raw"]["due_us"]]
    failures = sum(math.isinf(value) for found in values.values() for value in found)
    # Their times count from the run's start, those of the requests from the first one: a gap of arrivals earlier.
    number_of_run = systems["candidate"][1]["runs"].index(middle)
    events = [event for event in systems["candidate"][1]["disruptions"] if event["run"] == number_of_run]
    step = max(1, math.ceil(max(map(len, values.values())) / _DOTS))

    def paint(canvas: Canvas) -> None:
        top, bottom = canvas.axes
        ceiling = max(finite) * (1.6 if failures else 1.1)
        for role in reversed(list(runs)):
            times = [us / 1e6 for us in runs[role]["raw"]["due_us"]]
            points = list(zip(times, values[role], strict=True))
            _dots(top, [p for p in points[::step] if math.isfinite(p[1])], role, cut(systems[role][0]))
            lost = [time for time, value in points if math.isinf(value)][:_DOTS]
            if lost:
                top.plot(
                    lost,
                    [ceiling / (1.1 if role == "candidate" else 1.3)] * len(lost),
                    ls="none",
                    marker="x",
                    color=COLOURS["bad"],
                    ms=5,
                    label=f"failed, {cut(systems[role][0], 20)}",
                )
        seconds_axis(top, "y", min(finite), ceiling)
        for event in events:
            began, ended = number(event["began"]), number(event["ended"])
            if math.isfinite(began):
                top.axvspan(began, ended if math.isfinite(ended) else due[-1], color=COLOURS["bad"], alpha=0.18, lw=0)
                top.axvline(began, color=COLOURS["bad"], lw=1.2, ls=":", label=cut(event["kind"]))
        room = 0.015 * max(due[-1], 1e-3)
        top.set_xlim(-room, due[-1] + room)
        top.set_ylabel("latency")
        top.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, markerscale=1.2)
        width = max(due[-1], 1e-3) / 60
        bottom.hist(due, bins=60, weights=[1 / width] * len(due), color=COLOURS["muted"], histtype="stepfilled")
        bottom.set_ylabel("arrivals/s")
        bottom.set_xlabel("seconds since the first request was due")

    order = "the run whose p95 is in the middle"
    thinned = f" Every {step}th request is drawn." if step > 1 else ""
    caption = (
        f"Seed {middle['seed']}, {order} of {len(candidate)}: n = {len(due)} requests on each system shown, "
        f"{failures} failed.{thinned}{_disrupted(events)} Below, when they were due."
    )
    label = f"Latency over time. {caption}"
    svg = draw(paint, name=f"{name}-time", label=label, height=3.6, rows=(3, 1))
    return Plot("Latency over time", caption, svg)


def _disrupted(events: Sequence[Record]) -> str:
    summary = [
        f"{event['kind']} at {number(event['began']):.1f} s ({event['detail']})"
        if event["began"] is not None
        else f"{event['kind']} did not come about ({event['detail']})"
        for event in events
    ]
    return f" Disrupted on purpose, shaded: {'; '.join(summary)}." if summary else ""


def _dots(axes: Axes, points: Sequence[tuple[float, float]], role: str, label: str) -> None:
    """Draw many dots as one path of strokes without length, a third of the size of as many markers."""
    if not points:
        return
    vertices = [vertex for x, y in points for vertex in ((x, y), (x, y))]
    outline = Outline(vertices, [Outline.MOVETO, Outline.LINETO] * len(points))
    size = 3.4 if role == "candidate" else 2.6
    axes.add_patch(PathPatch(outline, fill=False, ec=COLOURS[role], lw=size, capstyle="round", alpha=0.75))
    axes.plot([], [], ls="none", marker="o", color=COLOURS[role], ms=size, label=label)
    axes.autoscale_view()
