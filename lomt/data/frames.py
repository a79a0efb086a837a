"""Sources whose samples are files with names: prepared once for all splits, and cached."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lomt.checks import check_whole
from lomt.data import cache, files
from lomt.data.augment import Augmentation
from lomt.data.samples import Samples
from lomt.data.source import Source
from lomt.tasks import Task


class FrameSource(Source):
    """A folder of frames. A subclass says which files make a frame and what its arrays are.

    Args:
        tasks: one for each label.
        size: height and width in pixels, of the prepared arrays.
        batch_size: samples a batch.
        lists: names of the frames of ``"train"`` (from which validation is cut) and ``"test"``.
        seed: draws the validation frames.
        validation: how many frames of train validate.
        augment: as :class:`Source` takes it.
        workers: as :class:`Source` takes it.

    Raises:
        ValueError: where a frame is in both lists, or validation leaves none to train.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        size: tuple[int, int],
        batch_size: int,
        lists: Mapping[str, Sequence[str]],
        *,
        seed: int,
        validation: int,
        augment: bool | Augmentation,
        workers: int,
    ) -> None:
        super().__init__(tasks, size, batch_size, augment=augment, workers=workers)
        train, test = lists["train"], lists["test"]
        if both := set(train) & set(test):
            raise ValueError(f"frame {min(both)} is listed to train and to test: each frame is in one split")
        if not isinstance(validation, int) or not 0 <= validation < len(train):
            raise ValueError(
                f"validation={validation}: of {len(train)} frames to train with, at least 1 must remain, use 0 to "
                f"{len(train) - 1}"
            )
        check_whole("seed", seed)
        self.seed = seed
        held_out = set(validation_names(train, validation, np.random.default_rng(seed)))
        self.names = {
            "train": [name for name in train if name not in held_out],
            "validation": [name for name in train if name in held_out],
            "test": list(test),
        }
        self._order = sorted(name for names in self.names.values() for name in names)
        self._arrays: Mapping[str, np.ndarray] | None = None

    @abstractmethod
    def paths(self, name: str) -> list[Path]:
        """The files that make a frame."""

    @abstractmethod
    def frame(self, name: str) -> dict[str, np.ndarray]:
        """A frame's image and labels at the target size, as :class:`Samples` stores them, without the first axis."""

    def identity(self) -> dict[str, Any]:
        """Everything that determines the arrays, for the cache; a subclass adds what it needs."""
        return {"size": self.size, "files": files.fingerprint(self._files())}

    def describe(self) -> dict[str, Any]:
        """Name, arguments and counts; ``files`` depends on names and sizes, so a copy of the data is the same data."""
        counts = {split: len(names) for split, names in self.names.items()}
        same = files.fingerprint(self._files(), times=False)
        return super().describe() | {"seed": self.seed, "counts": counts, "files": same}

    def _files(self) -> list[Path]:
        return [path for name in self._order for path in self.paths(name)]

    def samples(self, split: str) -> Samples:
        """The frames of a split; the first call prepares all frames and caches them."""
        if self._arrays is None:
            kind = type(self).__name__.lower()
            self._arrays = cache.cached(kind, self.identity(), len(self._order), self._build)
        row = {name: index for index, name in enumerate(self._order)}
        return Samples(self._arrays, np.array([row[name] for name in self.names[split]], dtype=np.int64))

    def _build(self) -> Iterator[cache.Chunk]:
        for name in self._order:
            yield {key: value[None] for key, value in self.frame(name).items()}

    def filtered(self, image: np.ndarray) -> np.ndarray:
        """An image ``(H, W, 3)`` uint8 at the target size, ``(3, height, width)``, low-pass filtered before."""
        resized = Image.fromarray(image).resize(self.size[::-1], Image.Resampling.BICUBIC)
        return np.asarray(resized).transpose(2, 0, 1)

    def nearest(self, label: np.ndarray) -> np.ndarray:
        """A label ``(…, H, W)`` at the target size: the pixel at the centre of each, the same one for all tasks."""
        rows, columns = (
            ((np.arange(target) + 0.5) * source / target).astype(np.int64)
            for source, target in zip(label.shape[-2:], self.size, strict=True)
        )
        return label[..., rows[:, None], columns]


def validation_names(names: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """``count`` of the names: whole runs of consecutive numbers in random order; only the last one may be cut.

    Consecutive frames of a recording show the same place, so a frame beside a training frame would validate little.
    """
    runs: list[list[str]] = []
    for name in sorted(names):
        if runs and name.isdigit() and runs[-1][-1].isdigit() and int(name) == int(runs[-1][-1]) + 1:
            runs[-1].append(name)
        else:
            runs.append([name])
    chosen: list[str] = []
    passed_over: list[str] = []
    for index in rng.permutation(len(runs)):
        fits = len(chosen) + len(runs[index]) <= count
        (chosen if fits else passed_over).extend(runs[index])
    return chosen + passed_over[: count - len(chosen)]
