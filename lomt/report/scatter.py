"""Quality against cost: a dot a network, so that one sees what is bought with what."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lomt.evaluation.wording import count, number
from lomt.report.chart import BOTTOM, LEFT, RIGHT, TOP, Axes, tick_label, ticks
from lomt.report.comparison import Comparison
from lomt.report.labels import around, place_label
from lomt.report.names import SINGLE, colour_class, method_name
from lomt.report.svg import drawing, element, tip

WIDTH, HEIGHT = 460.0, 300.0


def scatter(found: Comparison, compaction: Mapping[str, Any] | None = None) -> Markup | None:
    """Δm over multiply-accumulates, small dots for seeds, large ones for their means; none without two methods.

    Args:
        found: costs of all methods, as trained.
        compaction: what the stage ``compact`` left; its network is a ring where it stands now, and a dashed line leads
            there.
    """
    spots = [spot for method in found.methods if (spot := _spot(found, method))]
    if len(spots) < 2:
        return None
    gains = [gain for _, _, seeds, mean in spots for gain in (*seeds, mean)]
    low, high = min(0.0, *gains), max(0.0, *gains)
    margin = 0.18 * (high - low) or 1.0
    most = max(macs for _, macs, _, _ in spots) * 1.12
    axes = Axes(0.0, most, low - margin, high + margin, WIDTH, HEIGHT)
    parts = [_grid(axes, most), _zero(axes)]
    taken = [around(axes.x(macs), axes.y(mean)) for _, macs, _, mean in spots]
    for method, macs, seeds, mean in spots:
        colour = colour_class(method, found.methods)
        x, y = axes.x(macs), axes.y(mean)
        dots = [element("circle", cx=x, cy=axes.y(gain), r=3, class_="seed") for gain in seeds]
        about = f"{method_name(method)}: Δm {number(mean, 1, signed=True)} %, {count(round(macs))} multiply-accumulates"
        mean_dot = element("circle", tip(about), cx=x, cy=y, r=7, class_="mean")
        parts.append(
            element("g", *dots, mean_dot, place_label(method_name(method), x, y, taken, WIDTH), class_=f"spot {colour}")
        )
    described = "; ".join(
        f"{method_name(method)} {number(mean, 1, signed=True)} % at {count(round(macs))}"
        for method, macs, _, mean in spots
    )
    if compaction and (moved := _moved(found, compaction, axes)):
        parts.append(moved)
        described += f"; {_after(compaction)}"
    return drawing(WIDTH, HEIGHT, *parts, label=f"Δm over multiply-accumulates: {described}.", kind="chart scatter")


def _moved(found: Comparison, compaction: Mapping[str, Any], axes: Axes) -> Markup | None:
    """From where the compacted network was trained to where it is cheaper and as good; none if it isn't compared."""
    method = compaction["method"]
    gains = [one.delta_m for one in found.of(method) if one.seed == compaction["seed"]]
    if not gains or gains[0] is None:
        return None
    before, after = (axes.x(cost["macs"]) for cost in compaction["costs"].values())
    y = axes.y(gains[0])
    ring = element("circle", tip(_after(compaction)), cx=after, cy=y, r=7, class_="compacted")
    way = element("line", x1=before, x2=min(after + 7, before), y1=y, y2=y, class_="way")
    return element("g", way, ring, class_=f"spot {colour_class(method, found.methods)}")


def _after(compaction: Mapping[str, Any]) -> str:
    _, after = compaction["costs"].values()
    return f"{method_name(compaction['method'])}, compacted: {count(after['macs'])} multiply-accumulates"


def _spot(found: Comparison, method: str) -> tuple[str, float, Sequence[float], float] | None:
    macs = found.cost(method, "macs")
    delta = found.delta_m(method)
    if macs is None or (delta is None and method != SINGLE):
        return None
    if method == SINGLE or delta is None:
        return method, macs, (), 0.0
    seeds = [one.delta_m for one in found.of(method) if one.delta_m is not None]
    return method, macs, seeds if len(seeds) > 1 else (), delta.mean


def _grid(axes: Axes, most: float) -> Markup:
    parts = []
    for value in ticks(axes.low, axes.high, 5):
        y = axes.y(value)
        text = tick_label(value, axes.low, axes.high)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", f"+{text}" if value > 0 else text, x=LEFT - 6, y=y + 3.5, text_anchor="end"))
    for value in ticks(0.0, most, 4):
        text = _plain(count(round(value)))
        parts.append(element("text", text, x=axes.x(value), y=HEIGHT - BOTTOM + 14, text_anchor="middle"))
    parts.append(
        element(
            "text",
            "multiply-accumulates of one image →",
            x=WIDTH - RIGHT,
            y=HEIGHT - 5,
            text_anchor="end",
            class_="soft",
        )
    )
    parts.append(element("text", "↑ Δm [%]", x=LEFT + 4, y=TOP + 6, class_="soft"))
    return element("g", *parts, class_="axes")


def _plain(text: str) -> str:
    """``5.00 G`` as ``5 G``, for an axis.

    Example:
        >>> _plain("5.00 G"), _plain("500 M"), _plain("0")
        ('5 G', '500 M', '0')
    """
    digits, space, letter = text.partition(" ")
    return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits}{space}{letter}"


def _zero(axes: Axes) -> Markup:
    """As good as single-task networks."""
    y = axes.y(0.0)
    return element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="zero")
