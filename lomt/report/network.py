"""The network drawn: its blocks from image to end, each task's decoder at its tap, what was cut off dashed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lomt.report.blocks import Block, chain, place
from lomt.report.comparison import Comparison, Outcome
from lomt.report.names import SINGLE, colour_class, method_name, plural
from lomt.report.read import Run
from lomt.report.svg import drawing, element, path, tip

WIDTH = 344.0
NAMES, CHANNELS = 65.0, 89.0
BODY_LEFT, BODY = 116.0, 108.0
DECODER_LEFT, DECODER_HEIGHT, DECODER_GAP = 252.0, 24.0, 8.0
TALLEST = 460.0
GAP = 3.0


@dataclass(frozen=True)
class Drawing:
    """A network's picture.

    Attributes:
        method: what the reader calls it.
        colour: CSS class.
        picture: SVG.
        caption: what was cut, in a sentence.
    """

    method: str
    colour: str
    picture: Markup
    caption: str


@dataclass(frozen=True)
class Box:
    """A block on paper."""

    block: Block
    top: float
    height: float
    width: float

    @property
    def left(self) -> float:
        """Blocks are centred on one axis."""
        return BODY_LEFT + (BODY - self.width) / 2

    def at(self, share: float) -> float:
        """How far down a share of the block is."""
        return self.top + share * self.height


def networks(run: Run) -> list[Drawing]:
    """Every multi-task network of the comparison; all are drawn to one scale."""
    found = run.comparison
    if found is None or not found.candidates:
        return []
    grouped = {
        layer["name"] for training in run.trainings for layer in training.result.get("pattern", {}).get("layers", ())
    }
    blocks = chain(found.candidates, grouped)
    drawings = []
    for method in found.methods:
        outcome = _network_of(found, method)
        if outcome:
            picture, caption = draw(blocks, outcome.taps, method_name(method))
            drawings.append(Drawing(method_name(method), colour_class(method, found.methods), picture, caption))
    return drawings


@dataclass(frozen=True)
class TapLine:
    """What one task's decoder reads.

    Attributes:
        task: its name.
        taps: method's name → texts, one a tap: the layer, its channels and its resolution.
    """

    task: str
    taps: Mapping[str, Sequence[tuple[str, str]]]


def tap_table(run: Run) -> list[TapLine]:
    """For every task and every multi-task network: where the decoder is attached and what it is given there."""
    found = run.comparison
    if found is None:
        return []
    about = {one.name: f"{one.channels} channels, 1/{one.stride:g}" for one in found.candidates}
    networks = {method_name(method): one.taps for method in found.methods if (one := _network_of(found, method))}
    return [
        TapLine(
            task.name,
            {name: [(tap, about.get(tap, "")) for tap in taps.get(task.name, ())] for name, taps in networks.items()},
        )
        for task in found.tasks
        if networks
    ]


def _network_of(found: Comparison, method: str) -> Outcome | None:
    """The first seed's network of a method that has one for all tasks."""
    if method == SINGLE:
        return None
    return next((one for one in found.of(method) if one.taps and len(one.stages) <= 1), None)


def draw(blocks: Sequence[Block], taps: Mapping[str, Sequence[str]], name: str) -> tuple[Markup, str]:
    """Draw one network.

    Args:
        blocks: the whole backbone.
        taps: task → names of its taps.
        name: the network's, for the label.

    Returns:
        The picture, and a sentence that says what was cut off.
    """
    boxes = _stack(blocks)
    spots = {task: [spot for tap in several if (spot := place(blocks, tap))] for task, several in taps.items()}
    deepest = max((spot for several in spots.values() for spot in several), default=(len(blocks) - 1, 1.0))
    needed = {task: max(several) for task, several in spots.items() if several}
    parts = [_image()]
    parts += [_box(box, index, deepest, needed) for index, box in enumerate(boxes)]
    cut = _is_cut(blocks, deepest)
    if cut:
        parts.append(_scissors(boxes[deepest[0]].at(deepest[1])))
    parts += [_name(box, index <= deepest[0]) for index, box in enumerate(boxes)]
    height = boxes[-1].top + boxes[-1].height + 12
    parts += _decoders(boxes, spots, taps, height)
    described = "; ".join(f"{task} at {', '.join(several)}" for task, several in taps.items())
    label = f"The {name} network, {plural(len(blocks), 'block')} from top to bottom, decoders: {described}."
    caption = "Every decoder reads the end of the backbone." if len(set(needed.values())) == 1 else ""
    if cut:
        after = max((tap for several in taps.values() for tap in several), key=lambda tap: place(blocks, tap) or (0, 0))
        caption = f"Cut after {after}: what is dashed is never built and never computed."
    return drawing(WIDTH, height, *parts, label=label, kind="network"), caption


def _is_cut(blocks: Sequence[Block], deepest: tuple[int, float]) -> bool:
    return deepest < (len(blocks) - 1, 1.0)


def _stack(blocks: Sequence[Block]) -> list[Box]:
    """Height by channels and width by resolution, both on a scale that lets small ones be seen."""
    most = max(block.channels for block in blocks)
    finest = min(block.stride for block in blocks)
    natural = [5.0 if block.plain else 13 + 15 * math.sqrt(block.channels / most) for block in blocks]
    scale = min(1.0, (TALLEST - GAP * len(blocks)) / sum(natural))
    boxes, top = [], 34.0
    for block, height in zip(blocks, natural, strict=True):
        width = BODY * max(0.3, 1 - 0.2 * math.log2(max(1.0, block.stride / finest)))
        boxes.append(Box(block, top, height * scale, width))
        top += height * scale + GAP
    return boxes


def _image() -> Markup:
    centre = BODY_LEFT + BODY / 2
    return element(
        "g",
        element("text", "image", x=centre, y=12, text_anchor="middle", class_="soft"),
        element("path", d=path([(centre, 17), (centre, 28)]), class_="flow"),
        element("path", d=path([(centre - 3, 25), (centre, 29), (centre + 3, 25)]), class_="flow"),
    )


def _box(box: Box, index: int, deepest: tuple[int, float], needed: Mapping[str, tuple[int, float]]) -> Markup:
    """Darker where more tasks need it; the part after the deepest tap is only an outline."""
    block = box.block
    users = [task for task, spot in needed.items() if spot[0] >= index]
    text = f"{block.name}: {block.channels} channels, 1/{block.stride:g} of the resolution"
    shape = {"x": box.left, "width": box.width, "rx": 3}
    parts = [tip(f"{text}; {'needed by ' + ', '.join(users) if users else 'cut off'}")]
    built = 1.0 if index < deepest[0] else deepest[1] if index == deepest[0] else 0.0
    if built < 1:
        parts.append(element("rect", y=box.top, height=box.height, class_="ghost", **shape))
    if built > 0:
        shade = 0.15 + 0.85 * len(users) / max(1, len(needed))
        parts.append(element("rect", y=box.top, height=box.height * built, class_="block", fill_opacity=shade, **shape))
    return element("g", *parts)


def _name(box: Box, built: bool) -> Markup:
    """Name and channels at the left; blocks too low for text keep their tooltip."""
    if box.height < 8 and not box.block.plain:
        return Markup("")
    middle = box.top + box.height / 2 + 3.5
    name = box.block.name if len(box.block.name) <= 11 else f"…{box.block.name[-10:]}"
    kind = "mono" if built else "mono gone"
    parts = [element("text", name, x=NAMES, y=middle, text_anchor="end", class_=kind)]
    if not box.block.plain:
        parts.append(
            element("text", str(box.block.channels), x=CHANNELS, y=middle, text_anchor="end", class_=f"{kind} soft")
        )
    return element("g", *parts)


def _scissors(y: float) -> Markup:
    """The cut: a dashed line with open scissors on its left, between the names and the blocks."""
    left = CHANNELS + 5
    blades = (
        element("circle", cx=left + 3, cy=y - 4.5, r=3),
        element("circle", cx=left + 3, cy=y + 4.5, r=3),
        element("path", d=path([(left + 5.5, y - 3), (left + 16, y + 4)])),
        element("path", d=path([(left + 5.5, y + 3), (left + 16, y - 4)])),
    )
    line = element("path", d=path([(left + 18, y), (BODY_LEFT + BODY + 6, y)]), class_="cut-line")
    return element("g", *blades, line, class_="cut")


def _decoders(
    boxes: Sequence[Box],
    spots: Mapping[str, Sequence[tuple[int, float]]],
    taps: Mapping[str, Sequence[str]],
    height: float,
) -> list[Markup]:
    """Boxes at the right, as near to their taps as their neighbours allow, each joined to its taps."""
    order = sorted((task for task in spots if spots[task]), key=lambda task: max(spots[task]))
    wanted = [boxes[max(spots[task])[0]].at(max(spots[task])[1]) for task in order]
    parts = []
    for task, middle in zip(order, _spread(wanted, height), strict=True):
        threads = []
        for index, share in spots[task]:
            box = boxes[index]
            x, y = box.left + box.width, box.at(share)
            bend = (
                f"M{x:.1f} {y:.1f} C{x + 42:.1f} {y:.1f} {DECODER_LEFT - 26} {middle:.1f} {DECODER_LEFT} {middle:.1f}"
            )
            threads += [
                element("path", d=bend, class_="thread"),
                element("circle", cx=x, cy=y, r=3.2, class_="tap"),
            ]
        top = middle - DECODER_HEIGHT / 2
        shown = task if len(task) <= 13 else f"{task[:12]}…"
        parts.append(
            element(
                "g",
                tip(f"{task}: decoder at {', '.join(taps[task])}"),
                *threads,
                element(
                    "rect",
                    x=DECODER_LEFT,
                    y=top,
                    width=WIDTH - DECODER_LEFT - 1,
                    height=DECODER_HEIGHT,
                    rx=DECODER_HEIGHT / 2,
                    class_="decoder",
                ),
                element("text", shown, x=(DECODER_LEFT + WIDTH) / 2, y=middle + 4, text_anchor="middle", class_="task"),
            )
        )
    return parts


def _spread(wanted: Sequence[float], height: float) -> list[float]:
    """Places near the wanted ones, in order, that do not overlap and stay inside."""
    step = DECODER_HEIGHT + DECODER_GAP
    low, high = DECODER_HEIGHT / 2 + 1, height - DECODER_HEIGHT / 2 - 1
    places: list[float] = []
    for index, want in enumerate(wanted):
        least = places[-1] + step if places else low
        most = high - (len(wanted) - 1 - index) * step
        places.append(max(least, min(want, most)))
    return places
