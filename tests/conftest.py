"""What many tests need: one thread, a cache of their own, and a source of a few tiny rooms."""

import numpy as np
import pytest
import torch
from hypothesis import settings

from lomt.data import Samples, Source
from lomt.tasks import Classification, Depth, Edges, Segmentation

# A busy neighbour is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

COUNTS = {"train": 24, "validation": 8, "test": 8}


class Shapes(Source):
    """Bright squares on dark ground: where they are, how far, where they end, and how many; made in no time."""

    def __init__(self, size=(32, 32), batch_size=8, augment=True):
        tasks = [Segmentation("seg", 2), Depth("depth"), Edges("edges"), Classification("many", 2)]
        super().__init__(tasks, size, batch_size, augment=augment)

    def samples(self, split):
        count, (height, width) = COUNTS[split], self.size
        draw = np.random.default_rng(list(COUNTS).index(split))
        seg = np.zeros((count, height, width), np.uint8)
        squares = draw.integers(1, 4, count)
        for index, number in enumerate(squares):
            for top, left in draw.integers(0, min(height, width) - 8, (number, 2)):
                seg[index, top : top + 8, left : left + 8] = 1
        noise = draw.integers(0, 60, (count, 3, height, width))
        changes = (seg != np.roll(seg, 1, 1)) | (seg != np.roll(seg, 1, 2))
        arrays = {
            "image": (120 * seg[:, None] + noise).astype(np.uint8),
            "seg": seg,
            "depth": (4 - 2 * seg[:, None]).astype(np.float32),
            "edges": changes[:, None].astype(np.uint8),
            "many": (squares > 1).astype(np.int64),
        }
        return Samples(arrays, np.arange(count))


@pytest.fixture
def shapes():
    return Shapes()


@pytest.fixture(scope="session")
def shapes_once():
    """One source for many tests, which leave it as it is."""
    return Shapes(augment=False)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOMT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
