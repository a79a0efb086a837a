"""How λ was found: loss, dead channels and deepest layer of every network of a path."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lomt.report.chart import RIGHT, decade_ticks, tick_label, ticks
from lomt.report.read import Run
from lomt.report.svg import drawing, element, path, tip

WIDTH = 344.0
LEFT = 56.0
TOP = 18.0
STRIP = 62.0
GAP = 22.0
BOTTOM = 30.0
APART = 10.0
"""CSS pixels between two labels that can both be read."""
FURTHEST = 5
"""Where the scale of losses ends, in tolerances: what lies beyond is an arrow with its figure."""


@dataclass(frozen=True)
class Found:
    """One path.

    Attributes:
        name: the task, or the method whose shared backbone it is.
        reason: why this λ, in words.
        picture: three strips over λ.
        points: what was tried, in that order, for the table behind the picture.
        chosen: index of the point that was chosen, or none.
    """

    name: str
    reason: str
    picture: Markup
    points: Sequence[Mapping[str, Any]]
    chosen: int | None


def paths(run: Run) -> list[Found]:
    """One for every path that has ended, in the order of the tasks."""
    order = {task: index for index, task in enumerate(run.tasks)}
    names = sorted(run.paths, key=lambda name: (order.get(name, len(order)), name))
    return [_found(name, run.paths[name] | _refitted(run, name), _depths(run)) for name in names]


def _refitted(run: Run, name: str) -> dict[str, Any]:
    """What a path's result says otherwise where its networks were refitted, and the choice was made then."""
    for training in run.trainings:
        stage, _, step = str(training.result.get("start", "")).rpartition("/step-")
        if stage == f"path/{name}":
            tried = training.result["refits"]
            figures = [f"{one['excess']:+.1%} with λ {one['strengths'][-1]:.1e}" for one in tried]
            how = "trained on without a penalty, the strongest λ first, until a network was within the tolerance"
            reason = f"{how}; loss above the reference: {', '.join(figures)}"
            return {"chosen": int(step) - 1 if int(step) else None, "reason": reason}
    return {}


def _depths(run: Run) -> list[str]:
    """Names of the layers from image to end, as far as any pattern knows them."""
    for training in run.trainings:
        layers = training.result.get("pattern", {}).get("layers", ())
        if layers:
            return [str(layer["name"]) for layer in layers]
    return []


def _found(name: str, result: Mapping[str, Any], layers: Sequence[str]) -> Found:
    points = result["points"]
    return Found(name, result["reason"], picture(name, result, layers), points, result["chosen"])


def picture(name: str, result: Mapping[str, Any], layers: Sequence[str]) -> Markup:
    """Three strips over a common axis of λ: validation loss, dead channels, deepest active layer.

    Args:
        name: what the path is of.
        result: of the stage.
        layers: from image to end, to order the third strip by depth.
    """
    points, chosen = result["points"], result["chosen"]
    logs = [math.log10(point["strength"]) for point in points]
    left, right = min(logs) - 0.15, max(logs) + 0.15

    def x(log: float) -> float:
        return LEFT + (log - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    depths = sorted({point["deepest"] or "" for point in points}, key=lambda one: _place(one, layers))
    strips = [
        _loss([point["excess"] for point in points], result["tolerance"]),
        _Strip(
            "dead channels",
            [point["sparsity"] for point in points],
            [("0 %", 0.0), ("50 %", 0.5), ("100 %", 1.0)],
        ),
        _Strip(
            "deepest active layer",
            [(depths.index(point["deepest"] or "") + 0.5) / len(depths) for point in points],
            [(_short(one), (index + 0.5) / len(depths)) for index, one in enumerate(depths)],
        ),
    ]
    parts = []
    for row, strip in enumerate(strips):
        top = TOP + row * (STRIP + GAP)
        parts.append(_frame(strip, top))
        parts += [
            _dot(x(log), top, share, points[index], index == chosen)
            for index, (log, share) in enumerate(zip(logs, strip.shares, strict=True))
        ]
    height = TOP + 3 * (STRIP + GAP) + BOTTOM - GAP
    parts.append(_axis(left, right, x, height))
    label = f"Path of λ for {name}: {len(points)} networks, from λ {min(10**log for log in logs):.1e} on."
    return drawing(WIDTH, height, *parts, label=label, kind="chart")


@dataclass(frozen=True)
class _Strip:
    """One of the three.

    Attributes:
        title: what is drawn.
        shares: for each point how high it is, from 0 to 1; higher ones are off the scale.
        ticks: labels and how high they are.
        limit: how high the dashed line is, or none.
    """

    title: str
    shares: Sequence[float]
    ticks: Sequence[tuple[str, float]]
    limit: float | None = None


def _loss(excesses: Sequence[float], tolerance: float) -> _Strip:
    """On a scale that lets the tolerance be seen, however bad the worst network is."""
    low = 100 * min(0.0, *excesses)
    high = 100 * max(2 * tolerance, *(min(excess, FURTHEST * tolerance) for excess in excesses))

    def share(percent: float) -> float:
        return (percent - low) / (high - low)

    return _Strip(
        f"loss above the reference; dashed: {100 * tolerance:g} % are allowed",
        [share(100 * excess) for excess in excesses],
        [(f"{tick_label(value, low, high)} %", share(value)) for value in ticks(low, high, 4)],
        share(100 * tolerance),
    )


def _place(layer: str, layers: Sequence[str]) -> tuple[int, str]:
    return (layers.index(layer) if layer in layers else -1 if not layer else len(layers), layer)


def _short(layer: str) -> str:
    return layer.replace("layer", "l").replace(".conv", ".c") or "none"


def _frame(strip: _Strip, top: float) -> Markup:
    parts = [element("text", strip.title, x=LEFT, y=top - 5, class_="soft")]
    last = None
    for text, share in strip.ticks:
        y = top + STRIP * (1 - share)
        if last is not None and last - y < APART:
            continue
        last = y
        parts.append(_line(y, "grid"))
        parts.append(element("text", text, x=LEFT - 5, y=y + 3, text_anchor="end", class_="mono"))
    if strip.limit is not None:
        parts.append(_line(top + STRIP * (1 - strip.limit), "zero"))
    return element("g", *parts, class_="axes")


def _line(y: float, kind: str) -> Markup:
    return element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_=kind)


def _dot(x: float, top: float, share: float, point: Mapping[str, Any], chosen: bool) -> Markup:
    """A point; off the scale, an arrow at its end with the figure."""
    loss = f"{100 * point['excess']:+.1f} %"
    what = (
        f"λ {point['strength']:.1e}: loss {loss}, {100 * point['sparsity']:.0f} % dead, "
        f"deepest {point['deepest'] or 'none'}"
    )
    y = top + STRIP * (1 - min(share, 1.0))
    parts = [tip(what)]
    if share > 1:
        parts.append(element("path", d=path([(x - 4, y + 6), (x, y - 1), (x + 4, y + 6)], closed=True), class_="dot"))
        parts.append(element("text", loss, x=x - 7, y=y + 7, text_anchor="end", class_="mono"))
    else:
        parts.append(element("circle", cx=x, cy=y, r=3.2, class_="dot"))
    if chosen:
        parts.append(element("circle", cx=x, cy=y, r=6.5, class_="tap-frame"))
    return element("g", *parts, class_="curve of-sparse")


def _axis(left: float, right: float, x: Any, height: float) -> Markup:
    parts = []
    for value in decade_ticks(left, right, most=6):
        place, text = x(math.log10(value)), f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("e+0", "e")
        parts.append(element("line", x1=place, x2=place, y1=height - BOTTOM + 1, y2=height - BOTTOM + 5, class_="grid"))
        parts.append(element("text", text, x=place, y=height - 15, text_anchor="middle"))
    parts.append(element("text", "λ", x=WIDTH - RIGHT, y=height - 3, text_anchor="end", class_="soft"))
    return element("g", *parts, class_="axes")
