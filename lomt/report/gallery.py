"""The gallery: an image, and for each task the truth and what every method makes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lomt.evaluation.formatting import number
from lomt.report import pictures
from lomt.report.comparison import TaskFacts
from lomt.report.names import in_order, method_name
from lomt.report.read import Arrays, Run

MOST = 6
"""Images; more make the file large and nobody wiser."""


@dataclass(frozen=True)
class View:
    """One picture or one text.

    Attributes:
        who: truth, or the method's name.
        source: data URI of a picture, or empty.
        text: where the task has no picture.
        mark: ``right`` or ``wrong`` where that can be said.
        alt: what is to be seen.
    """

    who: str
    source: str = ""
    text: str = ""
    mark: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Strip:
    """One task of one image: truth first, then the methods."""

    task: str
    views: Sequence[View]


@dataclass(frozen=True)
class Sample:
    """One image with all its strips."""

    image: str
    strips: Sequence[Strip]


@dataclass(frozen=True)
class Legend:
    """How to read a task's pictures.

    Attributes:
        task: its name.
        entries: colour and meaning, for classes.
        ramp: colours from left to right, for depth.
        ends: the ramp's ends in words.
        note: for the others.
    """

    task: str
    entries: Sequence[tuple[str, str]] = ()
    ramp: Sequence[str] = ()
    ends: tuple[str, str] = ("", "")
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """All samples, who is in the columns, and the legends."""

    columns: Sequence[str]
    samples: Sequence[Sample]
    legends: Sequence[Legend]


def gallery(run: Run) -> Gallery | None:
    """Paint the arrays of ``gallery.npz``; none where they are missing."""
    arrays, found = run.gallery, run.comparison
    if arrays is None or found is None or "image" not in arrays:
        return None
    methods = in_order(key.split("/", 1)[0] for key in arrays if "/" in key and not key.startswith("truth/"))
    sources = ["truth", *methods]
    tasks = [task for task in found.tasks if any(f"{source}/{task.name}" in arrays for source in sources)]
    painters = {task.name: _painter(task, arrays, sources) for task in tasks}
    samples = []
    for index in range(min(MOST, len(arrays["image"]))):
        strips = [Strip(task.name, _views(task, arrays, sources, index, painters[task.name])) for task in tasks]
        samples.append(Sample(pictures.photo(arrays["image"][index]), strips))
    legends = [legend for task in tasks if (legend := _legend(task, arrays, sources))]
    return Gallery([_who(source) for source in sources], samples, legends)


def _who(source: str) -> str:
    return "truth" if source == "truth" else method_name(source)


Painter = Callable[[np.ndarray], str]


def _painter(task: TaskFacts, arrays: Arrays, sources: Sequence[str]) -> Painter | None:
    """How one map of a task becomes a picture; none for tasks without maps. New kinds are painted by their shape."""
    if not task.dense:
        return None
    if task.kind == "segmentation":
        return lambda map_: pictures.class_map(_flat(map_), task.channels)
    if task.kind == "depth":
        low, high = _depth_range(task, arrays, sources)
        return lambda map_: pictures.depth_map(_flat(map_), low, high)
    if task.kind == "edges":
        return lambda map_: pictures.grey_map(_flat(map_))
    if task.kind == "normals":
        return pictures.normal_map
    return _by_shape(task, arrays, sources)


def _by_shape(task: TaskFacts, arrays: Arrays, sources: Sequence[str]) -> Painter:
    values = np.concatenate([array.ravel() for array in _all(task, arrays, sources)]).astype(float)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return lambda map_: pictures.grey_map(_flat(map_).astype(float), low, high)


def _all(task: TaskFacts, arrays: Arrays, sources: Sequence[str]) -> list[np.ndarray]:
    return [arrays[key] for source in sources if (key := f"{source}/{task.name}") in arrays]


def _flat(map_: np.ndarray) -> np.ndarray:
    """``(H, W)``, of several channels the first."""
    return map_ if map_.ndim == 2 else map_[0]


def _depth_range(task: TaskFacts, arrays: Arrays, sources: Sequence[str]) -> tuple[float, float]:
    """One scale for truth and predictions of all samples: the truth's second to 98th percentile, in metres."""
    for array in _all(task, arrays, sources):
        known = array[np.isfinite(array)]
        if known.size:
            low, high = np.percentile(known, [2, 98])
            return float(low), float(max(high, low + 0.01))
    return 0.0, 1.0


def _views(task: TaskFacts, arrays: Arrays, sources: Sequence[str], index: int, painter: Painter | None) -> list[View]:
    views = []
    for source in sources:
        key = f"{source}/{task.name}"
        if key not in arrays or index >= len(arrays[key]):
            views.append(View(_who(source), text="–"))
        elif painter:
            alt = f"{task.name}, {_who(source)}, image {index + 1}"
            views.append(View(_who(source), painter(arrays[key][index]), alt=alt))
        else:
            truth = arrays.get(f"truth/{task.name}")
            views.append(_text(task, source, arrays[key][index], truth[index] if truth is not None else None))
    return views


def _text(task: TaskFacts, source: str, value: np.ndarray, truth: np.ndarray | None) -> View:
    """A class with its probability, several labels, or numbers."""
    if task.kind != "classification":
        return View(_who(source), text=", ".join(number(float(one)) for one in np.atleast_1d(value)))
    several = truth is not None and np.ndim(truth) == 1
    if source == "truth":
        return View("truth", text=_labels(task, value) if several else _class(task, int(value)))
    if several:
        return View(_who(source), text=_labels(task, value))
    likely = int(np.argmax(value)) if np.ndim(value) else int(value)
    mark = "" if truth is None or int(truth) < 0 else "right" if likely == int(truth) else "wrong"
    sure = f" ({100 * float(value[likely]):.0f}\u00a0%)" if np.ndim(value) else ""
    return View(_who(source), text=f"{_class(task, likely)}{sure}", mark=mark)


def _class(task: TaskFacts, index: int) -> str:
    if index < 0:
        return "no label"
    names = task.class_names
    return names[index] if names and index < len(names) else str(index)


def _labels(task: TaskFacts, values: np.ndarray) -> str:
    chosen = [_class(task, index) for index, value in enumerate(values) if value > 0.5]
    return ", ".join(chosen) or ("none" if np.isfinite(values).any() else "no label")


def _legend(task: TaskFacts, arrays: Arrays, sources: Sequence[str]) -> Legend | None:
    if not task.dense:
        return None
    return LEGENDS.get(task.kind, _plain_legend)(task, arrays, sources)


def _class_legend(task: TaskFacts, arrays: Arrays, sources: Sequence[str]) -> Legend:
    """Only classes that are to be seen."""
    seen = sorted({int(one) for array in _all(task, arrays, sources) for one in np.unique(array[:MOST])})
    entries = [(_hex(pictures.class_colour(one)), _class(task, one)) for one in seen if 0 <= one < task.channels]
    if any(not 0 <= one < task.channels for one in seen):
        entries.append((_hex(pictures.VOID), "no label"))
    return Legend(task.name, entries=entries)


def _depth_legend(task: TaskFacts, arrays: Arrays, sources: Sequence[str]) -> Legend:
    low, high = _depth_range(task, arrays, sources)
    colours = [_hex(pictures.ramp(step / 9)) for step in range(10)]
    note = "grey: not measured" if any(np.isnan(array).any() for array in _all(task, arrays, sources)) else ""
    return Legend(task.name, ramp=colours, ends=(f"{number(low)} m", f"{number(high)} m"), note=note)


def _normal_legend(task: TaskFacts, _arrays: Arrays, _sources: Sequence[str]) -> Legend:
    return Legend(task.name, note="red, green and blue are x, y and z of the unit normal, from −1 to 1")


def _edge_legend(task: TaskFacts, _arrays: Arrays, _sources: Sequence[str]) -> Legend:
    return Legend(task.name, ramp=["#ffffff", "#000000"], ends=("no edge", "edge"))


def _plain_legend(task: TaskFacts, _arrays: Arrays, _sources: Sequence[str]) -> Legend:
    return Legend(task.name, ramp=["#ffffff", "#000000"], ends=("low", "high"))


LEGENDS: Mapping[str, Callable[[TaskFacts, Arrays, Sequence[str]], Legend]] = {
    "segmentation": _class_legend,
    "depth": _depth_legend,
    "normals": _normal_legend,
    "edges": _edge_legend,
}


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
