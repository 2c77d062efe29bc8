"""A figure, its limit and its change in words: written once, for verdicts and for every report."""

from __future__ import annotations

import math

from pytest_inferbench.units import format_fraction, format_seconds

__all__ = ["bound", "change", "count", "factor", "figure", "margin", "percent", "since_recorded"]


def figure(metric: str, value: float) -> str:
    """Return a figure in the unit of its metric, "—" for NaN."""
    if math.isnan(value):
        return "—"
    if metric == "error_rate":
        return format_fraction(value)
    if metric == "throughput":
        return f"{value:.1f}/s"
    if metric == "slope":
        return f"{format_seconds(value)} per token"
    if metric in ("failed", "lost"):
        return f"{value:.1f} requests"
    return "-inf" if value == -math.inf else format_seconds(value)


def bound(metric: str, limit: float) -> str:
    """Return the limit of an objective: ``"at most 250 ms"``."""
    return f"{'at least' if metric == 'throughput' else 'at most'} {figure(metric, limit)}"


def margin(metric: str, value: float) -> str:
    """Return the margin of a comparison: ``"margin 5.0%"``, in points for the error rate."""
    return f"margin {format_fraction(value)}{' points' if metric == 'error_rate' else ''}"


def change(metric: str, ratio: float, low: float, high: float, *, difference: float) -> str:
    """Return how much a metric changed, with its interval: in percent, or in times where percents mislead.

    ``low`` and ``high`` are the ends for ``ratio``; for the error rate those for ``difference``.
    """
    if metric == "error_rate":
        if not (math.isfinite(low) and math.isfinite(high)):
            return f"{difference:+.2%} points (unbounded)"
        return f"{difference:+.2%} points ({low:+.2%} to {high:+.2%})"
    if math.isnan(ratio) or (low <= 0 and high == math.inf):
        return "unknown"
    if low == high and ratio in (0, math.inf) and metric != "throughput":
        return f"{'now' if ratio else 'no longer'} among the failed requests"
    word, less = ("higher", "lower") if metric == "throughput" else ("slower", "faster")
    if 0.5 < ratio < 2:
        size = f"{abs(ratio - 1):.1%}"
        moved = "unchanged" if size == "0.0%" else f"{size} {word if ratio > 1 else less}"
        return f"{moved} ({percent(low)} to {percent(high)})"
    if ratio <= 0.5:
        word = less
        ratio, low, high = (math.inf if value == 0 else 1 / value for value in (ratio, high, low))
    times = f"{ratio:.3g} times" if math.isfinite(ratio) else "infinitely"
    return f"{times} {word} ({factor(low)} to {factor(high)})"


def factor(value: float) -> str:
    """Return a ratio as ``"1.31"``, "unbounded" for an infinite one."""
    return "unbounded" if not math.isfinite(value) else f"{value:.3g}"


def percent(ratio: float) -> str:
    """Return a ratio as its distance from one: ``"+3.1%"``, "unbounded" for an infinite one."""
    return f"{ratio - 1:+.1%}" if math.isfinite(ratio) else "unbounded"


def count(number: int, what: str) -> str:
    """Return ``"1 run"`` or ``"3 runs"``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def since_recorded(metric: str, checkout: tuple[float, float, float], machine: tuple[float, float, float]) -> str:
    """Return what of a change since a baseline was recorded is the checkout's and what the machine's.

    Each as a ratio with the ends of its interval.
    """
    ours, theirs = (f"x{ratio:.3f} ({low:.3f} to {high:.3f})" for ratio, low, high in (checkout, machine))
    return f"{metric}: this checkout {ours} of the recorded revision; the machine {theirs} of when that was recorded"
