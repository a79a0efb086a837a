"""What every writer is: the predictions of one task in, files or values out."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

from lomt.files import written
from lomt.prediction.fullsize import prediction_at
from lomt.tasks import Task

Kind = TypeVar("Kind", bound=Task)


class Writer(ABC, Generic[Kind]):
    """Stores the predictions of one task.

    Args:
        task: whose.
        folder: where; the task has a folder of its name there.
    """

    def __init__(self, task: Kind, folder: Path) -> None:
        self.task = task
        self.folder = folder

    def about(self) -> dict[str, Any]:
        """What a reader of the files must know, for ``about.json``; writes what belongs to all pictures."""
        return {"kind": type(self.task).__name__, "files": self.says()}

    @abstractmethod
    def says(self) -> str:
        """What the files hold, with units."""

    @abstractmethod
    def write(self, name: str, output: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """Store the prediction for one picture.

        Args:
            name: of the prediction, a path without suffix.
            output: raw, ``(C, h, w)`` or ``(C,)``.
            size: height and width of the picture.

        Returns:
            Values for ``values.json`` and ``values.csv``, if there are any.
        """

    def predicted(self, output: Tensor, size: tuple[int, int]) -> np.ndarray:
        """The prediction at the picture's size."""
        if self.task.dense:
            return prediction_at(self.task, output, size).numpy()
        return self.task.prediction(output[None])[0].numpy()

    def save(self, picture: Image.Image, name: str, kind: str = "") -> None:
        """Write a PNG into the task's folder, or into one beside it that shows the same in another way."""
        path = self.folder / f"{self.task.name}{kind}" / f"{name}.png"
        with written(path) as draft:
            picture.save(draft, "PNG")
