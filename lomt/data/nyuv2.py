"""NYU-Depth v2: real rooms with classes and depth; normals and edges follow from them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from lomt.data import files, frames, surface
from lomt.data.augment import Augmentation
from lomt.data.frames import FrameSource
from lomt.tasks import Depth, Edges, Normals, Segmentation

VOID = surface.VOID
FOLDERS = {"image": ".jpg", "depth": ".png", "seg40": ".png"}
EXPECTED = ("train.txt", "test.txt", "meta.json", *FOLDERS)
SIGMA = 6 / 640  # window of the normals as a share of the width; see tests/unit/data/test_nyuv2.py for its accuracy
SEAM = 2 / 256  # void seams between objects are up to twice this share of the width
RIM = 0.03  # the white border is at most this share of a side


class NYUv2(FrameSource):
    """The 1449 labelled frames of NYU-Depth v2 (Silberman, Hoiem, Kohli, Fergus, ECCV 2012).

    ``root`` has ``train.txt`` and ``test.txt`` (names of frames, the official split), ``meta.json`` (class names,
    the table from 40 to 13 classes, the formula of depth, the camera), and in ``small/`` or directly ``image/*.jpg``,
    ``depth/*.png``, ``seg40/*.png``. What a frame gives:

    - ``seg``: 13 or 40 classes; void is missing.
    - ``depth``: metres along the optical axis.
    - ``normals``: from depth (:func:`lomt.data.surface.normals_from_depth`) at the files' own size: the steps of
      8-bit depth are smoothed away along surfaces, and not across depth discontinuities.
    - ``edges``: where 2 of the 40 classes meet, on both sides, at the target size. Annotators left void seams a few
      pixels wide between objects: these are closed first, so that two objects meet. Wider void has no edge around
      it, and within it edges are missing.

    The frames have a white border; it is found in each frame as the rows and columns at the rim that hold void only.
    There, and one pixel further, every task's label is missing; so is void in ``seg``. Depth has no other missing
    value: the authors filled its holes, and a byte of 0 is its nearest step. Labels are taken from the nearest pixel,
    the same one for all tasks; images are filtered.

    Validation frames are cut from train: whole runs of consecutive frames, drawn by ``seed``, because consecutive
    frames show the same room (only the last run drawn may be cut, to give the exact number).

    Args:
        root: the data set's folder.
        size: height and width in pixels.
        batch_size: samples a batch.
        seed: draws the validation frames.
        validation: how many frames of train validate.
        augment: changes training samples at random; an :class:`Augmentation` says how.
        classes: 13 or 40.
        workers: processes that prepare batches.

    Raises:
        FileNotFoundError: where ``root`` is no such folder, or a file is missing.
        ValueError: where a file is damaged or contradicts another; names it.
    """

    def __init__(
        self,
        root: str | Path,
        size: tuple[int, int] = (96, 128),
        batch_size: int = 16,
        seed: int = 0,
        validation: int = 95,
        augment: bool | Augmentation = True,
        classes: int = 13,
        workers: int = 0,
    ) -> None:
        if classes not in (13, 40):
            raise ValueError(f"classes={classes}: NYU-v2 is labelled with 13 or 40")
        self.root = Path(root).expanduser()
        self.frames = self.root / "small" if (self.root / "small").is_dir() else self.root
        files.expect_folder(self.root, EXPECTED[:3], "NYU-v2")
        files.expect_folder(self.frames, EXPECTED[3:], "NYU-v2")
        self.meta = _Meta(self.root / "meta.json")
        names = self.meta.names(classes)
        super().__init__(
            [Segmentation("seg", names), Depth("depth"), Normals("normals"), Edges("edges")],
            size,
            batch_size,
            {split: files.read_names(self.root / f"{split}.txt") for split in ("train", "test")},
            seed=seed,
            validation=validation,
            augment=augment,
            workers=workers,
        )
        self.classes = names

    def paths(self, name: str) -> list[Path]:
        """Image, depth and classes of a frame."""
        return [self.frames / kind / f"{name}{end}" for kind, end in FOLDERS.items()]

    def identity(self) -> dict[str, Any]:
        """Files, sizes, classes, and the code that derives labels."""
        code = files.code_version(__file__, frames.__file__, surface.__file__, files.__file__)
        return super().identity() | {"classes": len(self.classes), "meta": self.meta.text, "code": code}

    def frame(self, name: str) -> dict[str, np.ndarray]:
        """One frame's image and labels at the target size."""
        image_path, depth_path, seg_path = self.paths(name)
        image = files.read_image(image_path, "RGB")
        steps, seg = files.read_image(depth_path, "L"), files.read_image(seg_path, "L")
        for path, label in ((depth_path, steps), (seg_path, seg)):
            files.same_size(label, image, path, image_path)
        if seg.max() > 40:
            raise ValueError(f"{seg_path} has the class {seg.max()}: classes are 0 (void) and 1 to 40")
        width = seg.shape[1]
        inside = _without_border(seg)
        depth = np.where(inside, self.meta.depth(steps), np.nan).astype(np.float32)
        normals = surface.normals_from_depth(depth, *self.meta.rays(*seg.shape), SIGMA * width, step=self.meta.step)
        whole = surface.fill_seams(np.where(seg > 0, seg, VOID), round(SEAM * width))
        return {
            "image": self.filtered(image),
            "seg": self.nearest(np.where(inside, self.meta.merged(seg, len(self.classes)), np.uint8(VOID))),
            "depth": self.nearest(depth[None]).astype(np.float16),
            "normals": self.nearest(normals).astype(np.float16),
            "edges": surface.class_edges(self.nearest(np.where(inside, whole, VOID)))[None],
        }


class _Meta:
    """What ``meta.json`` says."""

    def __init__(self, path: Path) -> None:
        try:
            self.text = path.read_text(encoding="utf-8-sig")
            meta = json.loads(self.text)
            self._names = {13: meta["names13"], 40: meta["names40"]}
            self._to13 = np.array(meta["map40to13"], dtype=np.int64)
            self._camera = [float(value) for value in meta["intrinsics_640x480"]]
            formula = re.fullmatch(r"\(v \+ ([\d.]+)\) \* ([\d.]+) / ([\d.]+)", meta["depth_metres"])
            if formula is None:
                raise ValueError(f"depth_metres is {meta['depth_metres']!r} where '(v + a) * b / c' was expected")
            self._offset, top, levels = map(float, formula.groups())
            self.step = top / levels
            if [len(self._names[13]), len(self._names[40]), len(self._to13), len(self._camera)] != [
                14,
                41,
                41,
                4,
            ]:
                raise ValueError("names13, names40, map40to13, intrinsics_640x480 must have 14, 41, 41, 4 entries")
        except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
            raise ValueError(f"{path} can't be understood ({error!r}): restore it from the data set") from error

    def names(self, classes: int) -> list[str]:
        """Class names without void."""
        return list(self._names[classes][1:])

    def merged(self, seg40: np.ndarray, classes: int) -> np.ndarray:
        """Classes from 0 and :data:`VOID`, from 40 classes of which 0 is void."""
        table = np.arange(41) if classes == 40 else self._to13
        return np.asarray(np.where(table == 0, VOID, table - 1)[seg40], dtype=np.uint8)

    def depth(self, values: np.ndarray) -> np.ndarray:
        """Metres."""
        return np.asarray((values + self._offset) * self.step)

    def rays(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Ray slopes x/z of columns and y/z of rows, for a frame that was resized to this size."""
        fx, fy, cx, cy = self._camera
        return ((np.arange(width) + 0.5) * 640 / width - 0.5 - cx) / fx, (
            (np.arange(height) + 0.5) * 480 / height - 0.5 - cy
        ) / fy


def _without_border(seg: np.ndarray) -> np.ndarray:
    """``(H, W)`` bool: what is not the white border, nor one pixel next to it."""
    inside = np.ones(seg.shape, bool)
    for axis in (0, 1):
        empty = (seg == 0).all(axis=1 - axis)
        reach = int(np.ceil(RIM * len(empty)))
        for lines, view in ((empty, inside), (empty[::-1], np.flip(inside, axis))):
            count = int(np.argmin(lines[:reach])) if not lines[:reach].all() else reach
            if count:
                np.moveaxis(view, axis, 0)[: count + 1] = False
    return inside
