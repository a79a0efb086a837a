"""Quality against cost: a dot a network, so that one sees what is bought with what."""

from collections.abc import Sequence

from markupsafe import Markup

from lomt.evaluation.formatting import count, number
from lomt.report.chart import BOTTOM, LEFT, RIGHT, TOP, Axes, tick_label, ticks
from lomt.report.comparison import Comparison, trained_form
from lomt.report.labels import around, place_label
from lomt.report.names import SINGLE, colour_class, method_name
from lomt.report.svg import drawing, element, tip

WIDTH, HEIGHT = 460.0, 300.0


def scatter(found: Comparison) -> Markup | None:
    """Δm over multiply-accumulates, small dots for seeds, large ones for their means; none without two methods.

    A compacted network is a ring, to which a dashed line leads from where it was trained.
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
    rings = {method: axes.x(macs) for method, *_ in spots if (macs := _compacted(found, method)) is not None}
    taken = [around(x, axes.y(mean)) for method, macs, _, mean in spots for x in (axes.x(macs), rings.get(method)) if x]
    for method, macs, seeds, mean in spots:
        colour = colour_class(method, found.methods)
        x, y = axes.x(macs), axes.y(mean)
        shapes = [element("circle", cx=x, cy=axes.y(gain), r=3, class_="seed") for gain in seeds]
        shapes.append(element("circle", tip(_about(found, method, mean)), cx=x, cy=y, r=7, class_="mean"))
        if method in rings:
            about = tip(_about(found, found.smallest_form(method), mean))
            shapes.append(element("line", x1=x, x2=min(rings[method] + 7, x), y1=y, y2=y, class_="way"))
            shapes.append(element("circle", about, cx=rings[method], cy=y, r=7, class_="compacted"))
        shapes.append(place_label(method_name(method), x, y, taken, WIDTH))
        parts.append(element("g", *shapes, class_=f"spot {colour}"))
    means = {method: mean for method, _, _, mean in spots}
    forms = [form for form in found.forms if trained_form(form) in means]
    described = "; ".join(_about(found, form, means[trained_form(form)]) for form in forms)
    return drawing(WIDTH, HEIGHT, *parts, label=f"Δm over multiply-accumulates: {described}.", kind="chart scatter")


def _about(found: Comparison, form: str, mean: float) -> str:
    macs = count(round(found.cost(form, "macs") or 0.0))
    return f"{method_name(form)}: Δm {number(mean, 1, signed=True)} %, {macs} multiply-accumulates"


def _compacted(found: Comparison, method: str) -> float | None:
    """Multiply-accumulates of a method's compacted network; none where there is none."""
    form = found.smallest_form(method)
    return found.cost(form, "macs") if form != method else None


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
