"""Quality against measured latency: what a model is worth, and how long one waits for it."""

from markupsafe import Markup

from tailor.evaluation.bench import Bench, Timing
from tailor.evaluation.wording import number
from tailor.report.chart import BOTTOM, LEFT, RIGHT, TOP, Axes, tick_label, ticks
from tailor.report.labels import around, place_label
from tailor.report.svg import drawing, element, tip

WIDTH, HEIGHT = 560.0, 320.0
COLOURS = 4
STYLE = """
svg { background: #fdfdfc; font: 11px system-ui, sans-serif; }
text { fill: #15191f; } .soft, .axes text { fill: #56606d; } .grid { stroke: #e6e9ed; }
.zero { stroke: #646c77; stroke-width: 1.4; stroke-dasharray: 6 4; }
.of-other-0 { --c: #00805c; } .of-other-1 { --c: #a3407a; } .of-other-2 { --c: #8a6d00; } .of-other-3 { --c: #3b3fa8; }
.spot .mean { fill: var(--c); }
.spot .name { fill: var(--c); font-size: 12.5px; font-weight: 650; }
.spot .name { paint-order: stroke; stroke: #fdfdfc; stroke-width: 4px; }
"""
"""What the report's style sheet says, as far as this picture needs it, for a file of its own."""


def bench_plot(found: Bench, batch: int = 1, threads: int = 1) -> Markup | None:
    """Δm over the median latency of a batch: a dot a model and way to run it.

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
    gains = [worth for _, worth in spots]
    low, high = min(0.0, *gains), max(0.0, *gains)
    margin = 0.18 * (high - low) or 1.0
    most = max(one.median for one, _ in spots) * 1.12
    axes = Axes(0.0, most, low - margin, high + margin, WIDTH, HEIGHT)
    zero = element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=axes.y(0.0), y2=axes.y(0.0), class_="zero")
    taken = [around(axes.x(one.median), axes.y(worth), 5) for one, worth in spots]
    names = list(found.models)
    dots = []
    for one, worth in spots:
        x, y = axes.x(one.median), axes.y(worth)
        dot = element("circle", tip(_said(one, worth)), cx=x, cy=y, r=5, class_="mean")
        label = place_label(f"{one.model}, {one.backend}", x, y, taken, WIDTH)
        dots.append(element("g", dot, label, class_=f"spot of-other-{names.index(one.model) % COLOURS}"))
    title = f"Δm over latency, batch {batch}, {threads} thread{'s' * (threads > 1)}"
    described = "; ".join(_said(one, worth) for one, worth in spots)
    parts = [_grid(axes, most, title), zero, *dots]
    return drawing(WIDTH, HEIGHT, *parts, label=f"{title}: {described}.", kind="chart scatter")


def as_file(picture: Markup) -> str:
    """A drawing of the report as an SVG file, which brings its style along."""
    head, _, body = str(picture).partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{body}\n'


def _said(one: Timing, worth: float) -> str:
    return f"{one.model}, {one.backend}: Δm {number(worth, 1, signed=True)} %, {number(one.median)} ms"


def _grid(axes: Axes, most: float, title: str) -> Markup:
    parts = []
    for value in ticks(axes.low, axes.high, 5):
        text, y = tick_label(value, axes.low, axes.high), axes.y(value)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", f"+{text}" if value > 0 else text, x=LEFT - 6, y=y + 3.5, text_anchor="end"))
    for value in ticks(0.0, most, 5):
        text, y = tick_label(value, 0.0, most), HEIGHT - BOTTOM + 14
        parts.append(element("text", text, x=axes.x(value), y=y, text_anchor="middle"))
    across = f"latency [ms] →  ({title.partition(', ')[2]})"
    parts.append(element("text", across, x=WIDTH - RIGHT, y=HEIGHT - 5, text_anchor="end", class_="soft"))
    parts.append(element("text", "↑ Δm [%]", x=LEFT + 4, y=TOP + 6, class_="soft"))
    return element("g", *parts, class_="axes")
