"""How λ was found: loss, dead channels and deepest layer of every network of a path."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lomt.report.chart import RIGHT, ticks
from lomt.report.read import Run
from lomt.report.svg import drawing, element, tip

WIDTH = 344.0
LEFT = 56.0
TOP = 18.0
STRIP = 62.0
GAP = 22.0
BOTTOM = 30.0
APART = 10.0
"""CSS pixels between two labels that can both be read."""


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
            how = "trained on without a penalty, from the strongest λ on, until one was within the tolerance"
            reason = f"{how}: {', '.join(figures)}"
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

    limit = result["tolerance"]
    worst = max(2 * limit, *(min(point["excess"], 10 * limit) for point in points))
    best = min(0.0, *(point["excess"] for point in points))
    depths = sorted({point["deepest"] or "" for point in points}, key=lambda one: _place(one, layers))
    strips = [
        _Strip("validation loss above the reference", [(p["excess"] - best) / (worst - best) for p in points]),
        _Strip("dead channels", [p["sparsity"] for p in points]),
        _Strip(
            "deepest active layer",
            [(depths.index(p["deepest"] or "") + 0.5) / len(depths) for p in points],
        ),
    ]
    marks = [
        [(f"{100 * limit:g} %", (limit - best) / (worst - best)), (f"{100 * worst:.0f} %", 1.0)],
        [("0 %", 0.0), ("100 %", 1.0)],
        [(_short(one), (index + 0.5) / len(depths)) for index, one in enumerate(depths)],
    ]
    parts = []
    for row, (strip, labels) in enumerate(zip(strips, marks, strict=True)):
        top = TOP + row * (STRIP + GAP)
        parts.append(_frame(strip, labels, top))
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
    title: str
    shares: Sequence[float]


def _place(layer: str, layers: Sequence[str]) -> tuple[int, str]:
    return (layers.index(layer) if layer in layers else -1 if not layer else len(layers), layer)


def _short(layer: str) -> str:
    return layer.replace("layer", "l").replace(".conv", ".c") or "none"


def _frame(strip: _Strip, labels: Sequence[tuple[str, float]], top: float) -> Markup:
    parts = [element("text", strip.title, x=LEFT, y=top - 5, class_="soft")]
    last = None
    for text, share in labels:
        y = top + STRIP * (1 - share)
        if last is not None and last - y < APART:
            continue
        last = y
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", text, x=LEFT - 5, y=y + 3, text_anchor="end", class_="mono"))
    return element("g", *parts, class_="axes")


def _dot(x: float, top: float, share: float, point: Mapping[str, Any], chosen: bool) -> Markup:
    what = (
        f"λ {point['strength']:.1e}: loss {100 * point['excess']:+.1f} %, {100 * point['sparsity']:.0f} % dead, "
        f"deepest {point['deepest'] or 'none'}"
    )
    y = top + STRIP * (1 - min(max(share, 0.0), 1.0))
    parts = [tip(what), element("circle", cx=x, cy=y, r=3.2, class_="dot")]
    if chosen:
        parts.append(element("circle", cx=x, cy=y, r=6.5, class_="tap-frame"))
    return element("g", *parts, class_="curve of-sparse")


def _axis(left: float, right: float, x: Any, height: float) -> Markup:
    parts = []
    for log in ticks(left, right, 4):
        text = f"{10**log:.0e}".replace("e-0", "e-")
        parts.append(element("text", text, x=x(log), y=height - 16, text_anchor="middle"))
    parts.append(element("text", "λ", x=WIDTH - RIGHT, y=height - 3, text_anchor="end", class_="soft"))
    return element("g", *parts, class_="axes")
