"""Which tasks pull a layer in opposite directions, and whose pull is how strong: two maps of the shared layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lomt.evaluation.formatting import number
from lomt.report.svg import drawing, element, tip

WIDTH = 344.0
NAMES = 96.0
LONGEST = 17
"""Letters of a layer's name that fit beside its row."""
HEADS = 74.0
RIGHT = 28.0
TOP = 8.0
READABLE = 22.0
"""Pixels that a cell needs to hold its figure."""
FULL = 0.5
"""Cosine from which a cell has its full colour: beyond it, there is no doubt to be seen."""


def conflict(gradients: Mapping[str, Any]) -> Markup | None:
    """Cosines of task gradients: a row a layer, a column a pair of tasks; what a pair does not share stays empty.

    Args:
        gradients: of a network, as in ``diagnosis.json``.

    Returns:
        A drawing, or none where no layer is shared.
    """
    layers, pairs = [str(layer["name"]) for layer in gradients["layers"]], gradients["pairs"]
    if not layers or not pairs:
        return None
    row = _row(layers)
    wide = (WIDTH - NAMES - RIGHT) / len(pairs)
    parts = [_names(layers, HEADS, row)]
    for column, pair in enumerate(pairs):
        left = NAMES + column * wide
        parts.append(_head(" · ".join(pair["tasks"]), left + wide / 2))
        for index, layer in enumerate(layers):
            if layer in pair["layers"]:
                top = HEADS + index * row
                parts.append(_cell(layer, pair["tasks"], pair["layers"][layer], left, top, wide, row))
    label = f"Cosine between gradients of {len(pairs)} pairs of tasks at {len(layers)} shared layers."
    return drawing(WIDTH, HEADS + row * len(layers) + 4, *parts, label=label, kind="conflict")


def shares(gradients: Mapping[str, Any], colours: Mapping[str, str]) -> Markup | None:
    """Each task's share of the norm of weighted gradients: a bar a layer.

    Args:
        gradients: of a network, as in ``diagnosis.json``.
        colours: task → CSS class.
    """
    layers = [str(layer["name"]) for layer in gradients["layers"] if layer["name"] in gradients["shares"]]
    if not layers:
        return None
    row = _row(layers)
    parts = [_names(layers, TOP, row)]
    for index, layer in enumerate(layers):
        left = NAMES
        for task, share in gradients["shares"][layer].items():
            wide = share * (WIDTH - NAMES)
            text = f"{layer}, {task}: {number(100 * share, 1)} % of the sum of norms"
            bar = element("rect", x=left, y=TOP + index * row + 0.5, width=wide, height=row - 1, class_="part")
            parts.append(element("g", tip(text), bar, class_=colours.get(task, "")))
            left += wide
    label = f"Share of each task's weighted gradient at {len(layers)} shared layers."
    return drawing(WIDTH, TOP + row * len(layers) + 4, *parts, label=label, kind="conflict")


def _row(layers: Sequence[str]) -> float:
    return max(4.0, min(15.0, 330 / len(layers)))


def _names(layers: Sequence[str], top: float, row: float) -> Markup:
    """The layers' names; where rows are too low for all, every so many."""
    every = max(1, round(9 / row + 0.4))
    return element(
        "g",
        *(
            element(
                "text", _short(name), x=NAMES - 6, y=top + (index + 0.5) * row + 3, text_anchor="end", class_="mono"
            )
            for index, name in enumerate(layers)
            if index % every == 0
        ),
    )


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"


def _head(text: str, x: float) -> Markup:
    y = HEADS - 6
    return element("text", text, x=x, y=y, class_="mono", transform=f"rotate(-52 {x:.1f} {y:.1f})")


def _cell(
    layer: str, tasks: Sequence[str], spread: Mapping[str, Any], left: float, top: float, wide: float, row: float
) -> Markup:
    mean, deviation = spread["mean"], spread["std"]
    about = "" if deviation is None else f" ± {number(deviation, 2)}"
    text = f"{layer}, {' and '.join(tasks)}: {number(mean, 2, signed=True)}{about} over {spread['count']} batches"
    strength = min(1.0, abs(mean) / FULL)
    kind = "against" if mean < 0 else "along"
    square = {"x": left + 0.5, "y": top + 0.5, "width": wide - 1, "height": row - 1}
    parts = [tip(text), element("rect", **square, class_=kind, fill_opacity=0.85 * strength)]
    if wide >= READABLE and row >= 9:
        figure = number(round(mean, 2) + 0.0, 2).replace("0.", ".")
        parts.append(
            element("text", figure, x=left + wide / 2, y=top + row / 2 + 3, text_anchor="middle", class_="mono")
        )
    return element("g", *parts)
