"""NYU-Depth v2: real rooms with classes and depth; normals and edges follow from them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tailor.data import cache, files, surface
from tailor.data.augment import Augmentation
from tailor.data.source import Samples, Source
from tailor.tasks import Depth, Edges, Normals, Segmentation

VOID = surface.VOID
FOLDERS = {"image": ".jpg", "depth": ".png", "seg40": ".png"}
EXPECTED = ("train.txt", "test.txt", "meta.json", *FOLDERS)
SIGMA = 6 / 640  # window of the normals as a share of the width; see tests/unit/data/test_nyuv2.py for its accuracy
SEAM = 2 / 256  # void seams between objects are up to twice this share of the width
RIM = 0.03  # the white border is at most this share of a side


class NYUv2(Source):
    """The 1449 labelled frames of NYU-Depth v2 (Silberman, Hoiem, Kohli, Fergus, ECCV 2012).

    ``root`` has ``train.txt`` and ``test.txt`` (names of frames, the official split), ``meta.json`` (class names,
    the table from 40 to 13 classes, the formula of depth, the camera), and in ``small/`` or directly ``image/*.jpg``,
    ``depth/*.png``, ``seg40/*.png``. What a frame gives:

    - ``seg``: 13 or 40 classes; void is missing.
    - ``depth``: metres along the optical axis.
    - ``normals``: from depth (:func:`tailor.data.surface.normals_from_depth`) at the files' own size: the steps of
      8-bit depth are smoothed away along surfaces, and not across depth discontinuities.
    - ``edges``: where 2 of the 40 classes meet, on both sides, at the target size. Annotators left void seams a few
      pixels wide between objects: these are closed first, so that two objects meet. Wider void has no edge around
      it, and within it edges are missing.

    The frames have a white border; it is found in each frame as the rows and columns at the rim that hold void only.
    There, and one pixel further, every task's label is missing. Labels are taken from the nearest pixel, the same
    one for all tasks; images are filtered.

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
            augment=augment,
            workers=workers,
        )
        self.seed, self.classes = seed, names
        train, test = (files.read_names(self.root / f"{split}.txt") for split in ("train", "test"))
        if both := set(train) & set(test):
            raise ValueError(f"{self.root}: {sorted(both)[0]} is in train.txt and in test.txt: a frame is in one split")
        if not 0 <= validation < len(train):
            raise ValueError(f"validation={validation}: train.txt has {len(train)} frames, and 1 must remain to train")
        held_out = set(_runs(train, validation, np.random.default_rng(seed)))
        self.names = {
            "train": [name for name in train if name not in held_out],
            "validation": [name for name in train if name in held_out],
            "test": test,
        }
        self._arrays: dict[str, np.ndarray] | None = None

    def describe(self) -> dict[str, Any]:
        """Name, arguments and counts; a changed file changes ``files``."""
        counts = {split: len(names) for split, names in self.names.items()}
        return super().describe() | {"seed": self.seed, "counts": counts, "files": self._identity()["files"]}

    def samples(self, split: str) -> Samples:
        """The frames of a split; the first call prepares all frames and caches them."""
        order = sorted(name for names in self.names.values() for name in names)
        if self._arrays is None:
            self._arrays = cache.cached("nyuv2", self._identity(), len(order), lambda: self._build(order))
        row = {name: index for index, name in enumerate(order)}
        return Samples(self._arrays, np.array([row[name] for name in self.names[split]], dtype=np.int64))

    def _identity(self) -> dict[str, Any]:
        order = sorted(name for names in self.names.values() for name in names)
        paths = [self.frames / kind / f"{name}{end}" for kind, end in FOLDERS.items() for name in order]
        return {
            "size": self.size,
            "classes": len(self.classes),
            "files": files.fingerprint([self.root / "meta.json", *paths]),
            "code": files.code_version(__file__, surface.__file__, files.__file__),
        }

    def _build(self, order: list[str]) -> Iterator[cache.Chunk]:
        for name in order:
            yield {key: value[None] for key, value in self._frame(name).items()}

    def _frame(self, name: str) -> dict[str, np.ndarray]:
        """One frame's image and labels at the target size."""
        paths = {kind: self.frames / kind / f"{name}{end}" for kind, end in FOLDERS.items()}
        image = files.read_image(paths["image"], "RGB")
        steps, seg = (files.read_image(paths[kind], "L") for kind in ("depth", "seg40"))
        for kind, label in (("depth", steps), ("seg40", seg)):
            files.same_size(label, image, paths[kind], paths["image"])
        if seg.max() > 40:
            raise ValueError(f"{paths['seg40']} has the class {seg.max()}: classes are 0 (void) and 1 to 40")
        height, width = seg.shape
        rows, columns = (_nearest(source, target) for source, target in zip(seg.shape, self.size, strict=True))
        pick = np.ix_(rows, columns)
        inside = _without_border(seg)
        depth = np.where(inside, self.meta.depth(steps), np.nan)
        x, y = self.meta.rays(height, width)
        normals = surface.normals_from_depth(depth, x, y, SIGMA * width, step=self.meta.step)
        whole = surface.fill_seams(np.where(inside & (seg > 0), seg, VOID), round(SEAM * width))
        outline = np.where(inside[pick], whole[pick], VOID)
        resized = Image.fromarray(image).resize(self.size[::-1], Image.Resampling.BICUBIC)
        return {
            "image": np.asarray(resized).transpose(2, 0, 1),
            "seg": np.where(inside, self.meta.merged(seg, len(self.classes)), VOID)[pick].astype(np.uint8),
            "depth": depth[None][:, *pick].astype(np.float16),
            "normals": normals[:, *pick].astype(np.float16),
            "edges": surface.class_edges(outline)[None],
        }


class _Meta:
    """What ``meta.json`` says."""

    def __init__(self, path: Path) -> None:
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
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
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} can't be understood ({error!r}): restore it from the data set") from error

    def names(self, classes: int) -> list[str]:
        """Class names without void."""
        return list(self._names[classes][1:])

    def merged(self, seg40: np.ndarray, classes: int) -> np.ndarray:
        """Classes from 0 and :data:`VOID`, from 40 classes of which 0 is void."""
        table = np.arange(41) if classes == 40 else self._to13
        return np.where(table == 0, VOID, table - 1)[seg40]

    def depth(self, values: np.ndarray) -> np.ndarray:
        """Metres."""
        return (values + self._offset) * self.step

    def rays(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Ray slopes x/z of columns and y/z of rows, for a frame that was resized to this size."""
        fx, fy, cx, cy = self._camera
        return ((np.arange(width) + 0.5) * 640 / width - 0.5 - cx) / fx, (
            (np.arange(height) + 0.5) * 480 / height - 0.5 - cy
        ) / fy


def _nearest(source: int, target: int) -> np.ndarray:
    """Which of ``source`` pixels lies at the centre of each of ``target`` pixels."""
    return ((np.arange(target) + 0.5) * source / target).astype(np.int64)


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


def _runs(names: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """``count`` of the names: whole runs of consecutive numbers in random order, the last one cut to fit."""
    runs: list[list[str]] = []
    for name in sorted(names):
        follows = runs and name.isdigit() and runs[-1][-1].isdigit() and int(name) == int(runs[-1][-1]) + 1
        if follows:
            runs[-1].append(name)
        else:
            runs.append([name])
    chosen: list[str] = []
    for index in rng.permutation(len(runs)):
        if len(chosen) + len(runs[index]) <= count:  # a run that is too long now is passed over for shorter ones
            chosen += runs[index]
    rest = [name for name in sorted(names) if name not in set(chosen)]
    return chosen + rest[: count - len(chosen)]
