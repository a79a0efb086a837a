"""What can be read off a network at each depth: validation loss of linear probes, tap by tap."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lomt.evaluation.formatting import number
from lomt.report.chart import LEFT, RIGHT, Axes, Curve, band, line, tick_label, ticks
from lomt.report.svg import drawing, element, tip

WIDTH, HEIGHT = 344.0, 210.0
NAMES = 82.0
"""Height of the names of taps below the chart."""
MARGIN = 0.06


def probes(found: Mapping[str, Any], colour: str, name: str) -> Markup:
    """Two curves over the taps of both networks, lowest to highest seed shaded; a line where the task is attached.

    Args:
        found: a task's probes, as in ``diagnosis.json``.
        colour: CSS class of the multi-task network.
        name: of the multi-task network, for the reader.
    """
    taps = list(found["alone"]["taps"])
    taps += [tap for tap in found["shared"]["taps"] if tap not in taps]
    curves = [
        _curve(found["alone"], taps, "single-task network", "of-single-task"),
        _curve(found["shared"], taps, name, colour),
    ]
    values = [value for one in curves for ends in one.band for value in ends]
    low, high = min(values), max(values)
    margin = MARGIN * (high - low) or 0.1 * abs(high) or 1.0
    axes = Axes(0.0, float(max(1, len(taps) - 1)), low - margin, high + margin, WIDTH, HEIGHT)
    parts = [_frame(axes, taps, found["tap"])]
    parts += [band(one, axes) for one in curves] + [line(one, axes) for one in curves]
    best = {name: _best(found[key]) for key, name in (("alone", "alone"), ("shared", name))}
    label = f"Probe loss of {found['task']} by depth; lowest at " + ", ".join(
        f"{tap} ({whose})" for whose, tap in best.items()
    )
    return drawing(WIDTH, HEIGHT + NAMES - 30, *parts, label=f"{label}; attached at {found['tap']}.", kind="chart")


def _curve(curve: Mapping[str, Any], taps: Sequence[str], name: str, colour: str) -> Curve:
    places = [float(taps.index(tap)) for tap in curve["taps"]]
    losses = curve["losses"]
    points = [(x, statistics.fmean(seeds)) for x, seeds in zip(places, losses, strict=True)]
    text = f"{name}: " + ", ".join(f"{tap} {number(y)}" for tap, (_, y) in zip(curve["taps"], points, strict=True))
    return Curve(points, text, colour, band=[(min(seeds), max(seeds)) for seeds in losses])


def _best(curve: Mapping[str, Any]) -> str:
    means = [statistics.fmean(seeds) for seeds in curve["losses"]]
    return str(curve["taps"][means.index(min(means))])


def _frame(axes: Axes, taps: Sequence[str], attached: str) -> Markup:
    parts = []
    for value in ticks(axes.low, axes.high, 4):
        y = axes.y(value)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        text = tick_label(value, axes.low, axes.high)
        parts.append(element("text", text, x=LEFT - 6, y=y + 3.5, text_anchor="end"))
    bottom = axes.y(axes.low)
    for index, tap in enumerate(taps):
        x, kind = axes.x(float(index)), "mono"
        if tap == attached:
            kind = "mono tap-name"
            parts.append(
                element("g", tip(f"attached at {tap}"), element("line", x1=x, x2=x, y1=8, y2=bottom, class_="attached"))
            )
        turn = f"rotate(-60 {x:.1f} {bottom + 12:.1f})"
        parts.append(element("text", tap, x=x + 3, y=bottom + 12, text_anchor="end", class_=kind, transform=turn))
    return element("g", *parts, class_="axes")
