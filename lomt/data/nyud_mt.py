"""NYUD_MT: NYU-Depth v2 with classes, depth, normals and edges as files, a layout that multi-task papers share."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lomt.data import files, frames
from lomt.data.augment import Augmentation
from lomt.data.frames import FrameSource
from lomt.data.samples import MISSING
from lomt.tasks import Depth, Edges, Normals, Segmentation, Task

FARTHEST = 20.0  # metres, twice what the camera sees: any map in millimetres lies beyond

log = logging.getLogger(__name__)


class Label(NamedTuple):
    """Where a task's labels are."""

    task: Task
    folder: str
    suffix: str


class NYUDMT(FrameSource):
    """The layout of ASTMT and of Multi-Task-Learning-PyTorch (Maninis et al., CVPR 2019; Vandenhende et al., 2021).

    ``images/NAME.jpg``; ``gt_sets/train.txt`` and ``gt_sets/val.txt`` with names; and labels of the image's size:

    - ``segmentation/NAME.png``: one byte, 0 (void) and 1 to 40, in a batch 0 to 39 and missing;
    - ``depth/NAME.npy``: metres ``(H, W)``, 0 or NaN missing;
    - ``normals/NAME.npy``: ``(H, W, 3)`` unit vectors, x to the right first, length 0 or NaN missing;
    - ``edge/NAME.npy``: ``(H, W)`` 0 or 1, NaN missing.

    ``val.txt`` is the official test split and is the test split here; validation is cut from train. Where a task's
    folder is absent the task is absent; where a single file is, that label is missing. Both are logged as a warning.

    Args:
        root: the data set's folder.
        size: height and width in pixels.
        batch_size: samples a batch.
        seed: draws the validation frames.
        validation: how many frames of train validate; by default one in eight.
        augment: changes training samples at random; an :class:`Augmentation` says how.
        workers: processes that prepare batches.

    Raises:
        FileNotFoundError: where ``root`` is no such folder, or an image is missing.
        ValueError: where a file is damaged, or its label can't be true; names it.
    """

    def __init__(
        self,
        root: str | Path,
        size: tuple[int, int] = (96, 128),
        batch_size: int = 16,
        seed: int = 0,
        validation: int | None = None,
        augment: bool | Augmentation = True,
        workers: int = 0,
    ) -> None:
        self.root = Path(root).expanduser()
        files.expect_folder(self.root, ("images", "gt_sets/train.txt", "gt_sets/val.txt"), "NYUD_MT")
        labels = (
            Label(Segmentation("seg", 40), "segmentation", ".png"),
            Label(Depth("depth"), "depth", ".npy"),
            Label(Normals("normals"), "normals", ".npy"),
            Label(Edges("edges"), "edge", ".npy"),
        )
        self.labels = [label for label in labels if (self.root / label.folder).is_dir()]
        for label in labels:
            if label not in self.labels:
                log.warning("%s has no folder %s: there is no task %r", self.root, label.folder, label.task.name)
        if not self.labels:
            folders = ", ".join(label.folder for label in labels)
            raise FileNotFoundError(f"{self.root} has no labels at all: expected at least one of {folders}")
        lists = {"train": "gt_sets/train.txt", "test": "gt_sets/val.txt"}
        names = {split: files.read_names(self.root / path) for split, path in lists.items()}
        super().__init__(
            [label.task for label in self.labels],
            size,
            batch_size,
            names,
            seed=seed,
            validation=len(names["train"]) // 8 if validation is None else validation,
            augment=augment,
            workers=workers,
        )
        for label in self.labels:
            absent = [name for name in self._order if not self._path(label, name).exists()]
            if absent:
                log.warning("%s: %d of %d labels are missing, the first is %s", self.root / label.folder, len(absent),
                            len(self._order), self._path(label, absent[0]).name)  # fmt: skip

    def paths(self, name: str) -> list[Path]:
        """The image, then a file for each label."""
        return [self.root / "images" / f"{name}.jpg", *(self._path(label, name) for label in self.labels)]

    def identity(self) -> dict[str, Any]:
        """Files, size, and the code that reads them."""
        tasks = [label.task.name for label in self.labels]
        code = files.code_version(__file__, frames.__file__, files.__file__)
        return super().identity() | {"tasks": tasks, "code": code}

    def frame(self, name: str) -> dict[str, np.ndarray]:
        """One frame's image and labels at the target size."""
        image_path = self.paths(name)[0]
        image = files.read_image(image_path, "RGB")
        arrays = {"image": self.filtered(image)}
        for label in self.labels:
            path = self._path(label, name)
            stored = _read(path, label.task, image.shape[:2])
            files.same_size(stored, image, path, image_path)
            arrays[label.task.name] = self.nearest(stored)
        return arrays

    def _path(self, label: Label, name: str) -> Path:
        return self.root / label.folder / f"{name}{label.suffix}"


def _read(path: Path, task: Task, size: tuple[int, int]) -> np.ndarray:
    """A label as it is stored, at its own size, or wholly missing at the image's size where there is no file."""
    if isinstance(task, Segmentation):
        if not path.exists():
            return np.full(size, MISSING, dtype=np.uint8)
        ids = files.read_image(path, "L").astype(np.int64) - 1
        ids[ids == -1] = task.ignore_index
        task.check(torch.from_numpy(ids), f"{path} (less 1, 0 being void)")
        return ids.astype(np.uint8)
    channels = task.channels
    if not path.exists():
        values = np.full((channels, *size), np.nan, dtype=np.float32)
    else:
        array = files.read_array(path)
        if array.ndim not in (2, 3):
            raise ValueError(f"{path} has shape {array.shape}, expected a map (H, W) or (H, W, {channels})")
        maps = np.moveaxis(array, -1, 0) if array.ndim == 3 else array[None]
        with np.errstate(over="ignore"):  # what is too large for float32 is no label, and is said to be infinite
            values = np.array(maps, dtype=np.float32, order="C")
        if isinstance(task, Depth | Normals):
            values[:, (values == 0).all(0)] = np.nan  # as the layout's own reader has it
        task.check(torch.from_numpy(values), str(path))
        if isinstance(task, Depth) and (far := np.nanmax(values, initial=0)) > FARTHEST:
            raise ValueError(
                f"{path}: depth of {far:g} m, and a Kinect sees no farther than 10 m – divide millimetres by 1000"
            )
    if isinstance(task, Edges):
        return np.where(np.isnan(values), MISSING, values).astype(np.uint8)
    return values.astype(np.float16)
