"""A small line chart with axes, drawn as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lomt.report.svg import drawing, element, path, tip

WIDTH, HEIGHT = 340.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 10.0, 10.0, 34.0


@dataclass(frozen=True)
class Curve:
    """A line over epochs.

    Attributes:
        points: (x, y); points whose y is not finite are gaps.
        name: for the tooltip.
        colour: CSS class.
        style: further CSS classes: ``train`` is dashed, ``thin`` is thin.
        band: low and high for every point, or none.
    """

    points: Sequence[tuple[float, float]]
    name: str
    colour: str
    style: str = ""
    band: Sequence[tuple[float, float]] = ()


def chart(curves: Sequence[Curve], label: str, percent: bool = False, x_title: str = "epoch") -> Markup:
    """Draw curves over common axes.

    Args:
        curves: at least one with a finite point, or the chart says that nothing was measured.
        label: what is to be seen, in a sentence.
        percent: whether the values are shares, written as percent on an axis from 0 to 100 %.
        x_title: what runs to the right.
    """
    xs = [x for curve in curves for x, y in curve.points if math.isfinite(y)]
    ys = [y for curve in curves for _, y in curve.points if math.isfinite(y)]
    if not ys:
        return element("p", "nothing measured", class_="absent")
    axes = Axes(min(xs), max(xs), *((0.0, 1.0) if percent else _range(ys)))
    body = [axes.draw(percent, x_title)]
    body += [band(curve, axes) for curve in curves if curve.band]
    body += [line(curve, axes) for curve in curves]
    return drawing(WIDTH, HEIGHT, *body, label=label, kind="chart")


@dataclass(frozen=True)
class Axes:
    """Data to CSS pixels."""

    left: float
    right: float
    low: float
    high: float
    width: float = WIDTH
    height: float = HEIGHT

    def x(self, value: float) -> float:
        """Where a value lies from left to right."""
        share = (value - self.left) / (self.right - self.left) if self.right > self.left else 0.5
        return LEFT + share * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Where a value lies from top to bottom."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.height - BOTTOM - share * (self.height - TOP - BOTTOM)

    def draw(self, percent: bool, x_title: str) -> Markup:
        """Grid, tick labels, and the title of the x axis."""
        parts = []
        for value in ticks(self.low, self.high, 4):
            y = self.y(value)
            parts.append(element("line", x1=LEFT, x2=self.width - RIGHT, y1=y, y2=y, class_="grid"))
            text = f"{100 * value:.0f} %" if percent else tick_label(value, self.low, self.high)
            parts.append(element("text", text, x=LEFT - 6, y=y + 3.5, text_anchor="end"))
        for value in ticks(self.left, self.right, 5, whole=True):
            text = tick_label(value, self.left, self.right)
            parts.append(element("text", text, x=self.x(value), y=self.height - BOTTOM + 14, text_anchor="middle"))
        parts.append(
            element("text", x_title, x=self.width - RIGHT, y=self.height - 5, text_anchor="end", class_="soft")
        )
        return element("g", *parts, class_="axes")


def ticks(low: float, high: float, about: int, whole: bool = False) -> list[float]:
    """Round numbers between ``low`` and ``high``, about so many.

    Example:
        >>> ticks(0.0, 1.0, 4), ticks(1, 30, 5, whole=True), ticks(2.0, 2.0, 4)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [5, 10, 15, 20, 25, 30], [2.0])
    """
    if high <= low:
        return [low]
    rough = (high - low) / about
    power: float = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.75 * rough)
    if whole:
        step = max(1, round(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def decade_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Round numbers between two decimal logarithms, for a logarithmic axis; of the finest steps that give not too many.

    Example:
        >>> decade_ticks(0.6, 2.1), decade_ticks(-3.1, -2.1, most=5), decade_ticks(-1, 6)[:3]
        ([5.0, 10.0, 20.0, 50.0, 100.0], [0.001, 0.002, 0.005], [0.1, 1.0, 10.0])
    """
    decades = range(math.floor(low), math.ceil(high) + 1)
    found: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        finer = [float(f"{step}e{decade}") for decade in decades for step in steps]
        finer = [value for value in finer if low - 1e-9 <= math.log10(value) <= high + 1e-9]
        if len(finer) <= most or not found:
            found = finer
    return found


def tick_label(value: float, low: float, high: float) -> str:
    """A tick with as many decimals as the axis needs."""
    decimals = max(0, 1 - math.floor(math.log10(high - low))) if high > low else 2
    text = f"{value:.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return (max(0.0, low - margin) if low >= 0 else low - margin), high + margin


def line(curve: Curve, axes: Axes) -> Markup:
    """The curve itself; where neighbours are missing, a dot."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in curve.points:
        if math.isfinite(y):
            runs[-1].append((axes.x(x), axes.y(y)))
        elif runs[-1]:
            runs.append([])
    parts = [tip(curve.name)]
    for run in filter(None, runs):
        if len(run) == 1:
            parts.append(element("circle", cx=run[0][0], cy=run[0][1], r=2.5, class_="dot"))
        else:
            parts.append(element("path", d=path(run)))
    return element("g", *parts, class_=f"curve {curve.colour} {curve.style}".strip())


def band(curve: Curve, axes: Axes) -> Markup:
    """The shaded region around a curve."""
    known = [(x, *ends) for (x, _), ends in zip(curve.points, curve.band, strict=True) if all(map(math.isfinite, ends))]
    upper = [(axes.x(x), axes.y(high)) for x, _, high in known]
    lower = [(axes.x(x), axes.y(low)) for x, low, _ in reversed(known)]
    return element("path", d=path(upper + lower, closed=True), class_=f"band {curve.colour}")
