"""Quality against measured latency: what a model is worth, and how long one waits for it."""

import math

from markupsafe import Markup

from lomt.evaluation.bench import Bench, Timing
from lomt.evaluation.formatting import number
from lomt.report.chart import BOTTOM, LEFT, RIGHT, TOP, Axes, decade_ticks, tick_label, ticks
from lomt.report.labels import around, place_label
from lomt.report.names import OTHERS
from lomt.report.svg import drawing, element, path, tip

WIDTH, HEIGHT = 640.0, 340.0
SHAPES: dict[str, list[tuple[float, float]]] = {
    "eager": [(0, -6), (4.2, -4.2), (6, 0), (4.2, 4.2), (0, 6), (-4.2, 4.2), (-6, 0), (-4.2, -4.2)],
    "channels_last": [(-5, -5), (5, -5), (5, 5), (-5, 5)],
    "bf16": [(0, -6), (6, 5), (-6, 5)],
    "onnxruntime": [(0, -7), (6, 0), (0, 7), (-6, 0)],
}
"""Corners of each way's mark, in CSS pixels from its middle."""
OTHER: list[tuple[float, float]] = [(-6, -2), (6, -2), (6, 2), (-6, 2)]
STYLE = """
svg { background: #fdfdfc; font: 11px system-ui, sans-serif; }
text { fill: #15191f; } .soft, .axes text { fill: #56606d; } .grid { stroke: #e6e9ed; }
.zero { stroke: #646c77; stroke-width: 1.4; stroke-dasharray: 6 4; }
.of-other-0 { --c: #a3407a; } .of-other-1 { --c: #8a6d00; } .of-other-2 { --c: #2f4858; }
.of-other-3 { --c: #7a4a2b; } .of-other-4 { --c: #4d7c0f; } .of-other-5 { --c: #b3123f; }
.spot .mean, .spot .seed { fill: var(--c); } .spot .seed { opacity: .45; } .ways path { fill: #56606d; }
.spot .name { fill: var(--c); font-size: 12.5px; font-weight: 650; }
.spot .name { paint-order: stroke; stroke: #fdfdfc; stroke-width: 4px; }
"""
"""What the report's style sheet says, as far as this picture needs it, for a file of its own."""


def bench_plot(found: Bench, batch: int = 1, threads: int = 1) -> Markup | None:
    """Δm over the median latency of a batch, on a logarithmic axis: a row a model, in it a mark a way to run it.

    Args:
        found: what was measured.
        batch: images a pass.
        threads: their number.

    Returns:
        An SVG element for the report; None where no model's Δm is known, or nothing was timed so.
    """
    times = [one for one in found.timings if (one.batch, one.threads) == (batch, threads)]
    spots = [(one, worth) for one in times if (worth := found.models[one.model].delta_m) is not None]
    if not spots:
        return None
    axes = _axes(spots)
    zero = element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=axes.y(0.0), y2=axes.y(0.0), class_="zero")
    taken = [around(axes.x(math.log10(one.median)), axes.y(worth)) for one, worth in spots]
    rows = []
    for index, model in enumerate(found.models):
        own = [(one, worth) for one, worth in spots if one.model == model]
        if own:
            rows.append(element("g", *_row(own, axes, taken), class_=f"spot of-other-{index % OTHERS}"))
    title = f"Δm over latency, batch {batch}, {threads} thread{'s' * (threads > 1)}"
    described = "; ".join(_said(one, worth) for one, worth in spots)
    ways = list(dict.fromkeys(one.backend for one, _ in spots))
    parts = [_grid(axes, title), zero, *rows, _legend(ways)]
    return drawing(WIDTH, HEIGHT, *parts, label=f"{title}: {described}.", kind="chart scatter")


def as_file(picture: Markup) -> str:
    """A drawing of the report as an SVG file, which brings its style along."""
    head, _, body = str(picture).partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{body}\n'


def _axes(spots: list[tuple[Timing, float]]) -> Axes:
    gains, logs = [worth for _, worth in spots], [math.log10(one.median) for one, _ in spots]
    low, high = min(0.0, *gains), max(0.0, *gains)
    margin, beside = 0.18 * (high - low) or 1.0, 0.08 * (max(logs) - min(logs)) or 0.3
    return Axes(min(logs) - beside, max(logs) + beside, low - margin, high + margin, WIDTH, HEIGHT)


def _row(own: list[tuple[Timing, float]], axes: Axes, taken: list[tuple[float, float, float, float]]) -> list[Markup]:
    """A model's marks on a thin line, and its name where there is room, at its fastest one first."""
    y = axes.y(own[0][1])
    places = sorted(axes.x(math.log10(one.median)) for one, _ in own)
    taken.append((places[0], y - 2, places[-1], y + 2))
    line = element("rect", x=places[0], y=y - 0.75, width=places[-1] - places[0], height=1.5, class_="seed")
    marks = [
        element("path", tip(_said(one, worth)), d=_mark(one.backend, axes.x(math.log10(one.median)), y), class_="mean")
        for one, worth in own
    ]
    return [line, *marks, place_label(own[0][0].model, places[0], y, taken, WIDTH)]


def _mark(backend: str, x: float, y: float) -> str:
    return path([(x + right, y + down) for right, down in SHAPES.get(backend, OTHER)], closed=True)


def _said(one: Timing, worth: float) -> str:
    return f"{one.model}, {one.backend}: Δm {number(worth, 1, signed=True)} %, {number(one.median)} ms"


def _legend(ways: list[str]) -> Markup:
    parts, x = [], LEFT + 6
    for way in ways:
        parts.append(element("path", d=_mark(way, x, HEIGHT - 9)))
        parts.append(element("text", way, x=x + 11, y=HEIGHT - 5, class_="soft"))
        x += 32 + 6.2 * len(way)
    return element("g", *parts, class_="ways")


def _grid(axes: Axes, title: str) -> Markup:
    parts = []
    for value in ticks(axes.low, axes.high, 5):
        text, y = tick_label(value, axes.low, axes.high), axes.y(value)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", f"+{text}" if value > 0 else text, x=LEFT - 6, y=y + 3.5, text_anchor="end"))
    for value in decade_ticks(axes.left, axes.right):
        x = axes.x(math.log10(value))
        parts.append(element("text", f"{value:g}", x=x, y=HEIGHT - BOTTOM + 14, text_anchor="middle"))
    across = f"latency [ms], {title.partition(', ')[2]} →"
    parts.append(element("text", across, x=WIDTH - RIGHT, y=HEIGHT - 5, text_anchor="end", class_="soft"))
    parts.append(element("text", "↑ Δm [%]", x=LEFT + 4, y=TOP + 6, class_="soft"))
    return element("g", *parts, class_="axes")
