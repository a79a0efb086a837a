"""Embedded data: rendered rooms with exact labels, made on first use."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lomt.checks import check_whole
from lomt.data import cache, files
from lomt.data.augment import Augmentation
from lomt.data.samples import Samples
from lomt.data.scene import __file__ as scene_package
from lomt.data.scene.render import render
from lomt.data.scene.rooms import ROOMS, compose
from lomt.data.scene.solids import CLASSES
from lomt.data.source import SPLITS, Source
from lomt.tasks import Classification, Depth, Edges, Normals, Segmentation

CHUNK = 16


class Scenes(Source):
    """Rooms with furniture, ray-cast with exact labels: nothing to download.

    - ``seg``: 14 classes, from wall and floor to lamp and screen.
    - ``depth``: z-depth, metres along the camera's optical axis.
    - ``normals``: unit vectors in camera axes (x right, y down, z forward) that point at the camera.
    - ``edges``: both pixels of each pair of neighbours between which the class, the piece of furniture or the
      surface changes (a turn of more than 35° or a step of more than 4 cm). Texture is no edge.
    - ``room``: bedroom, living room, office, dining room or kitchen. Colours, textures, lights, windows, pictures
      and plants are drawn alike for all of them, and most furniture occurs in several: what stands together tells.

    A sample depends on the seed, its split, its index and the size, and on nothing else: with another count the
    first samples stay the same, and no sample is in two splits.

    Args:
        size: height and width in pixels.
        train: samples to train with.
        validation: samples to validate with.
        test: samples to test with.
        seed: draws all of them.
        batch_size: samples a batch.
        augment: changes training samples at random; an :class:`Augmentation` says how.
        workers: processes that prepare batches.
    """

    def __init__(
        self,
        size: tuple[int, int] = (64, 64),
        train: int = 1200,
        validation: int = 200,
        test: int = 300,
        seed: int = 0,
        batch_size: int = 32,
        augment: bool | Augmentation = True,
        workers: int = 0,
    ) -> None:
        super().__init__(
            [
                Segmentation("seg", CLASSES),
                Depth("depth"),
                Normals("normals"),
                Edges("edges"),
                Classification("room", ROOMS),
            ],
            size,
            batch_size,
            augment=augment,
            workers=workers,
        )
        self.counts = dict(zip(SPLITS, (train, validation, test), strict=True))
        for split, count in self.counts.items():
            check_whole(f"the size of the {split} split", count, 1)
        check_whole("seed", seed)
        self.seed = seed
        self.classes = list(CLASSES)

    def describe(self) -> dict[str, Any]:
        """Name, arguments and counts."""
        return super().describe() | {"seed": self.seed, "counts": dict(self.counts)}

    def samples(self, split: str) -> Samples:
        """The samples of a split, from the cache or rendered now."""
        count = self.counts[split]
        code = [__file__, *sorted(str(path) for path in Path(scene_package).parent.glob("*.py"))]
        identity = {
            "size": self.size,
            "seed": self.seed,
            "split": split,
            "count": count,
            "code": files.code_version(*code),
        }
        arrays = cache.cached(f"scenes-{split}", identity, count, lambda: self._build(split, count))
        return Samples(arrays, np.arange(count))

    def _build(self, split: str, count: int) -> Iterator[cache.Chunk]:
        for start in range(0, count, CHUNK):
            chunk = self.generate(split, range(start, min(start + CHUNK, count)))
            for key in ("depth", "normals"):
                chunk[key] = chunk[key].astype(np.float16)
            yield chunk

    def generate(self, split: str, indices: range) -> dict[str, np.ndarray]:
        """Samples straight from the renderer, not cached: see :func:`lomt.data.scene.render.render`."""
        streams = [np.random.default_rng([self.seed, SPLITS.index(split), index]) for index in indices]
        return render([compose(stream) for stream in streams], self.size, streams)
