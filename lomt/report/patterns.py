"""Which channels lived: one raster a task, layers from top to bottom, a panel a trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from lomt.report.names import SPARSE, plural
from lomt.report.pictures import alpha_image
from lomt.report.read import Run, Training
from lomt.report.svg import drawing, element, tip
from lomt.selection import Selection

WIDTH = 344.0
NAMES = 92.0
SHARES = 36.0
TOP = 16.0
PANEL_GAP = 5.0
READABLE = 9.0
TOLD = 12
"""Trials of which each one's share is told."""
DOTS = 3
"""Raster dots for a CSS pixel, so that it stays crisp on phones."""


@dataclass(frozen=True)
class Layer:
    """One grouped layer in all trials.

    Attributes:
        name: the convolution.
        ranked: whether it may become a tap; stem and shortcuts may not.
        alive: for each trial which groups live, ``(groups,)`` bool.
    """

    name: str
    ranked: bool
    alive: Sequence[np.ndarray]

    @property
    def densities(self) -> list[float]:
        """For each trial the share of groups that live, in [0, 1]."""
        return [float(groups.mean()) if len(groups) else 0.0 for groups in self.alive]

    @property
    def density(self) -> float:
        """The mean over trials."""
        return sum(self.densities) / len(self.densities) if self.alive else 0.0


@dataclass(frozen=True)
class Need:
    """What one task needs: its tap, how sure that is, and the patterns that say so.

    Attributes:
        task: its name.
        tap: the chosen layer, or none before selection.
        agree: how many trials choose it, or none if not known.
        trials: how many there are.
        interval: the shallowest and the deepest choice of a trial, where trials disagree.
        enough: whether fewer trials would have done, in words; empty where that is not known or all agree.
        runner_up: the second choice, or none.
        reason: of the rule, in words.
        picture: the raster, or none where no sparse training has ended.
        layers: what the raster shows, for the table behind it.
    """

    task: str
    tap: str | None
    agree: int | None
    trials: int
    interval: tuple[str, str] | None
    enough: str
    runner_up: str | None
    reason: str
    picture: Markup | None
    layers: Sequence[Layer]


def needs(run: Run) -> list[Need]:
    """One for every task that has a selection or a sparse training."""
    selections = (run.selection or {}).get("selections", {})
    found = []
    for task in run.tasks:
        trainings = [one for one in run.of(SPARSE) if task in one.tasks and one.result.get("pattern")]
        chosen = selections.get(task, {})
        if not trainings and not chosen:
            continue
        layers = _layers(trainings)
        tap = str(chosen["tap"]) if chosen.get("tap") else None
        per_trial = chosen.get("per_trial")
        trials = len(per_trial) if isinstance(per_trial, list) and per_trial else len(trainings)
        found.append(
            Need(
                task=task,
                tap=tap,
                agree=_agreement(chosen, trials),
                trials=trials,
                interval=_interval(chosen),
                enough=_enough(Selection.from_dict(chosen)) if chosen.get("agreement") else "",
                runner_up=str(chosen["runner_up"]) if chosen.get("runner_up") else None,
                reason=_sentence(str(chosen.get("reason") or "")),
                picture=raster(task, layers, tap) if layers else None,
                layers=layers,
            )
        )
    return found


def _agreement(chosen: Mapping[str, Any], trials: int) -> int | None:
    """How many trials choose the tap: counted where each trial's choice is known, else from the stability."""
    per_trial = chosen.get("per_trial")
    if isinstance(per_trial, list) and per_trial and all(isinstance(one, str | None) for one in per_trial):
        return per_trial.count(chosen.get("tap"))
    stability = chosen.get("stability")
    return round(stability * trials) if isinstance(stability, int | float) else None


def _interval(chosen: Mapping[str, Any]) -> tuple[str, str] | None:
    first, last = chosen.get("interval") or (None, None)
    return (str(first), str(last)) if first != last else None


def _enough(selection: Selection) -> str:
    if len(selection.agreement) == 1:
        return "One trial cannot say how sure that is: run more."
    if selection.enough is None:
        return "Only all of them together come to the tap; more may move it yet."
    return f"Any {selection.enough} of them come to the tap." if selection.enough > 1 else ""


def _sentence(words: str) -> str:
    if words and words.split()[0].isalpha():  # a layer's name stays as it is
        words = f"{words[0].upper()}{words[1:]}"
    return words if words.endswith(".") or not words else f"{words}."


def _layers(trainings: Sequence[Training]) -> list[Layer]:
    """The layers of the first trial, each with all trials' groups."""
    patterns = [
        {str(layer["name"]): layer for layer in training.result["pattern"].get("layers", ())} for training in trainings
    ]
    if not patterns:
        return []
    return [
        Layer(
            name,
            bool(layer.get("ranked", True)),
            [_groups(pattern[name]["alive"]) for pattern in patterns if name in pattern],
        )
        for name, layer in patterns[0].items()
    ]


def _groups(alive: str | Sequence[bool]) -> np.ndarray:
    """``(groups,)`` bool, from a text of 0s and 1s or a list."""
    return np.array([one in ("1", 1) for one in alive], dtype=bool)


def raster(task: str, layers: Sequence[Layer], tap: str | None) -> Markup:
    """Layers in rows, a panel a trial with the layer's channels from left to right, at the end the mean share alive."""
    trials = max(len(layer.alive) for layer in layers)
    height = max(3.0, min(11.0, 280 / len(layers)))
    step = (WIDTH - NAMES - SHARES) / trials
    gap = min(PANEL_GAP, step / 4)
    panel = (WIDTH - NAMES - SHARES - gap * (trials - 1)) / trials
    parts = []
    for trial in range(trials):
        left = NAMES + trial * (panel + gap)
        parts.append(_panel(layers, trial, left, panel, height))
        if panel > 34 or trial == 0:
            title = f"trial {trial + 1}" if panel > 34 else f"{trials} trials"
            parts.append(element("text", title, x=left, y=TOP - 5, class_="soft"))
    parts.append(element("text", "alive", x=WIDTH - SHARES + 6, y=TOP - 5, class_="soft"))
    tap_row = _tap_row(layers, tap)
    for index, layer in enumerate(layers):
        parts.append(_row(layer, index, height, tap_row))
    parts += _stages(layers, height, tap_row) if height < READABLE else []
    if tap_row is not None:
        parts.append(_mark(layers, tap_row, height))
    label = (
        f"Sparsity pattern of {task}: {plural(len(layers), 'layer')} from image to end, {plural(trials, 'trial')}"
        + (f"; tap at {tap}." if tap else ".")
    )
    return drawing(WIDTH, TOP + height * len(layers) + 4, *parts, label=label, kind="pattern")


def _tap_row(layers: Sequence[Layer], tap: str | None) -> int | None:
    """The tap's row; for a container that of its last layer."""
    inside: list[int] = [
        index for index, layer in enumerate(layers) if tap and (layer.name == tap or layer.name.startswith(f"{tap}."))
    ]
    return inside[-1] if inside else None


def _panel(layers: Sequence[Layer], trial: int, left: float, width: float, height: float) -> Markup:
    """One trial as one image: opacity is the share of channels that live in a dot's width."""
    columns, rows = max(1, round(width * DOTS)), max(1, round(height * DOTS))
    opacity = np.zeros((len(layers) * rows, columns))
    for index, layer in enumerate(layers):
        if trial < len(layer.alive):
            gap = 1 if rows > 4 else 0
            opacity[index * rows : (index + 1) * rows - gap] = _resample(layer.alive[trial], columns)
    full = height * len(layers)
    return element(
        "g",
        element("rect", x=left, y=TOP, width=width, height=full, class_="dead"),
        element(
            "image", href=alpha_image(opacity), x=left, y=TOP, width=width, height=full, preserveAspectRatio="none"
        ),
    )


def _resample(alive: np.ndarray, columns: int) -> np.ndarray:
    """Share of live groups within each of ``columns`` equal parts, exact also where a part cuts a group."""
    if not len(alive):
        return np.zeros(columns)
    summed = np.concatenate([[0.0], np.cumsum(alive)])
    edges = np.interp(np.linspace(0, len(alive), columns + 1), np.arange(len(alive) + 1), summed)
    share: np.ndarray = np.diff(edges) * columns / len(alive)
    return share


def _row(layer: Layer, index: int, height: float, tap_row: int | None) -> Markup:
    """Name, share and tooltip of a layer; what the task does not use is faded."""
    top = TOP + index * height
    base = top + height / 2 + 3
    shares = _shares(layer.densities)
    note = "" if layer.ranked else "; not ranked (stem or shortcut)"
    groups = len(layer.alive[0]) if layer.alive else 0
    parts = [tip(f"{layer.name}: {shares} of {plural(groups, 'channel')} alive{note}")]
    if height >= READABLE:
        name = layer.name if len(layer.name) <= 16 else f"{layer.name[:15]}…"
        kind = "mono" if layer.ranked else "mono gone"
        if index != tap_row:
            parts.append(element("text", name, x=NAMES - 5, y=base, text_anchor="end", class_=kind))
        parts.append(element("text", _percent(layer.density), x=WIDTH, y=base, text_anchor="end", class_="share"))
    else:
        bar = (SHARES - 6) * layer.density
        parts.append(element("rect", x=WIDTH - SHARES + 6, y=top + 0.5, width=bar, height=height - 1, class_="bar"))
    if tap_row is not None and index > tap_row:
        parts.append(element("rect", x=NAMES, y=top, width=WIDTH - NAMES - SHARES, height=height, class_="unused"))
    parts.append(element("rect", x=0, y=top, width=WIDTH, height=height, class_="catch"))
    return element("g", *parts)


def _shares(densities: Sequence[float]) -> str:
    """Of every trial, or of many the least and the most."""
    if len(densities) > TOLD:
        return f"{100 * min(densities):.0f} % … {100 * max(densities):.0f} %"
    return ", ".join(f"{100 * share:.0f} %" for share in densities)


def _percent(share: float) -> str:
    return "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _stages(layers: Sequence[Layer], height: float, tap_row: int | None) -> list[Markup]:
    """Where rows are too low for names, the name of each stage at its first layer, but where the tap's name stands."""
    parts, last = [], -READABLE
    for index, layer in enumerate(layers):
        stage = layer.name.split(".")[0]
        begins = index == 0 or layers[index - 1].name.split(".")[0] != stage
        free = tap_row is None or abs(tap_row - index) * height >= READABLE + 4
        if begins and free and (index - last) * height >= READABLE:
            y = TOP + index * height
            parts.append(element("line", x1=2, x2=NAMES - 4, y1=y, y2=y, class_="grid"))
            parts.append(element("text", stage, x=2, y=y + 9, class_="mono"))
            last = index
    return parts


def _mark(layers: Sequence[Layer], row: int, height: float) -> Markup:
    """The tap: its name and a frame around its row."""
    top = TOP + row * height
    name = layers[row].name
    return element(
        "g",
        element(
            "rect", x=NAMES - 2, y=top - 1, width=WIDTH - NAMES - SHARES + 4, height=height + 1, class_="tap-frame"
        ),
        element("text", f"{name} ▸", x=NAMES - 4, y=top + height / 2 + 3, text_anchor="end", class_="mono tap-name"),
        class_="tap-mark",
    )
