"""How each kind of prediction is stored. A new kind is one class and one line in :data:`WRITERS`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from lomt.files import write_atomically, written
from lomt.prediction.legend import legend
from lomt.prediction.writer import Writer
from lomt.report.pictures import class_colour, ramp
from lomt.tasks import Classification, Depth, Edges, Normals, Regression, Segmentation, Task

MILLIMETRES = 1000
MOST = 65535
"""The largest number of 16 bits."""


class ClassMaps(Writer[Segmentation]):
    """A PNG with a palette: its pixels are class ids and show the class's colour; more than 256 classes: 16 bits."""

    def about(self) -> dict[str, Any]:
        """The classes, in order, with their colours; draws the legend."""
        names = self.task.class_names
        with written(self.folder / f"{self.task.name}-legend.png") as draft:
            legend(names, self._colours).save(draft, "PNG")
        colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in self._colours]
        return super().about() | {
            "classes": [{"name": name, "colour": colour} for name, colour in zip(names, colours, strict=True)]
        }

    @property
    def _colours(self) -> list[tuple[int, int, int]]:
        return [class_colour(index) for index in range(self.task.channels)]

    def says(self) -> str:
        """What the files hold, with units."""
        return "PNG: a pixel's value is its class, counted from 0; the palette shows the classes' colours"

    def write(self, name: str, output: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """Class ids, as one PNG."""
        ids = self.predicted(output, size)
        if self.task.channels > 256:
            self.save(Image.fromarray(ids.astype(np.uint16)), name)
            return {}
        picture = Image.fromarray(ids.astype(np.uint8)).convert("L")
        picture.putpalette([value for colour in self._colours for value in colour])
        self.save(picture, name)
        return {}


class DepthMaps(Writer[Depth]):
    """Millimetres as a 16-bit PNG, and a coloured view."""

    def says(self) -> str:
        """What the files hold, with units."""
        return (
            f"{self.task.name}/: 16-bit PNG, depth in millimetres, at most {MOST}; {self.task.name}-view/: near is "
            f"light, far is dark, between the 2nd and the 98th percentile of the picture (near, far in values.json)"
        )

    def write(self, name: str, output: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """Two PNGs; returns the range of the coloured one, in metres."""
        metres = self.predicted(output, size)[0]
        millimetres = np.clip(np.round(metres * MILLIMETRES), 0, MOST).astype(np.uint16)
        self.save(Image.fromarray(millimetres), name)
        near, far = (float(value) for value in np.percentile(metres, (2, 98)))
        share = np.clip((metres - near) / max(far - near, 1e-6), 0, 1)
        table = np.array([ramp(level / 255) for level in range(256)], np.uint8)
        self.save(Image.fromarray(table[np.round(255 * share).astype(np.uint8)]), name, "-view")
        return {"near": round(near, 3), "far": round(far, 3)}


class NormalMaps(Writer[Normals]):
    """Unit vectors as colours."""

    def says(self) -> str:
        """What the files hold, with units."""
        return "PNG: red, green, blue are x, y, z of the unit vector as value / 127.5 − 1, in the training data's axes"

    def write(self, name: str, output: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """One PNG."""
        colours = np.round((self.predicted(output, size) + 1) * 127.5).astype(np.uint8)
        self.save(Image.fromarray(np.ascontiguousarray(np.moveaxis(colours, 0, -1))), name)
        return {}


class EdgeMaps(Writer[Edges]):
    """Probabilities as grey."""

    def says(self) -> str:
        """What the files hold, with units."""
        return "PNG: the probability of an edge, value / 255"

    def write(self, name: str, output: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """One PNG."""
        self.save(Image.fromarray(np.round(255 * self.predicted(output, size)[0]).astype(np.uint8)), name)
        return {}


class Labels(Writer[Classification]):
    """A class and its probability, or the probability of each label."""

    def says(self) -> str:
        """What the files hold, with units."""
        return "values.json, values.csv: " + (
            "the probability of each label" if self.task.multilabel else "the class, and its probability"
        )

    def write(self, name: str, output: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """Returns names and probabilities; writes nothing."""
        del name
        predicted = self.predicted(output, size)
        if self.task.multilabel:
            return {label: round(float(p), 4) for label, p in zip(self.task.class_names, predicted, strict=True)}
        index = int(predicted)
        return {"class": self.task.class_names[index], "probability": round(float(output.softmax(0)[index]), 4)}


class Numbers(Writer[Regression]):
    """Numbers as they are."""

    def says(self) -> str:
        """What the files hold, with units."""
        return "values.json, values.csv: the numbers, in the units of the training data"

    def write(self, name: str, output: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """Returns the numbers by their index; writes nothing."""
        del name
        return {str(index): float(value) for index, value in enumerate(self.predicted(output, size))}


class Arrays(Writer[Task]):
    """What no other writer knows: ``.npy`` arrays."""

    def says(self) -> str:
        """What the files hold, with units."""
        return f"NumPy arrays (.npy) of what {type(self.task).__name__}.prediction gives"

    def write(self, name: str, output: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """One array."""
        path = self.folder / self.task.name / f"{name}.npy"
        with written(path) as draft, draft.open("wb") as file:
            np.save(file, self.predicted(output, size))
        return {}


WRITERS: dict[type[Task], type[Writer[Any]]] = {
    Segmentation: ClassMaps,
    Depth: DepthMaps,
    Normals: NormalMaps,
    Edges: EdgeMaps,
    Classification: Labels,
    Regression: Numbers,
}
"""Kind of task → its writer, also for subclasses; what is not named is written as arrays."""


def writer(task: Task, folder: Path) -> Writer[Any]:
    """The writer of a task."""
    kinds = (WRITERS[kind] for kind in type(task).__mro__ if kind in WRITERS)
    return next(kinds, Arrays)(task, folder)


def write_about(writers: list[Writer[Any]], folder: Path) -> None:
    """``about.json``: what all the files hold."""
    about = {one.task.name: one.about() for one in writers}
    write_atomically(folder / "about.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n")
