"""One place that seeds everything random."""

import hashlib
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader


def seed_everything(*parts: int | str) -> int:
    """Seed torch, NumPy and Python from any mix of numbers and names; returns the seed.

    The parts are hashed, so that (seed 0, epoch 1) and (seed 1, epoch 0) share nothing.

    >>> seed_everything(0, 1) == seed_everything(0, 1) != seed_everything(1, 0)
    True
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    seed = int.from_bytes(digest[:4], "little")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 – user code may draw from NumPy's global state
    torch.manual_seed(seed)
    return seed


class Seeded(Iterable[Any]):
    """A loader that seeds everything whenever it is iterated, so that one epoch repeats itself by itself.

    Args:
        loader: what is iterated.
        parts: the seed, as for :func:`seed_everything`.
    """

    def __init__(self, loader: DataLoader, *parts: int | str) -> None:
        self.loader = loader
        self.parts = parts

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        seed_everything(*self.parts)
        return iter(self.loader)
