"""Pictures of shapes at several distances, drawn in no time: what is it, how far, where does it end."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

CLASSES = 4
OUTPUTS = {"seg": CLASSES, "depth": 1, "edges": 1}
Batch = dict[str, Tensor]


def batches(count: int, size: int, batch: int, seed: int) -> Iterator[Batch]:
    """Batches of ``image`` (N, 3, size, size), ``seg`` (N, size, size) of int64, ``depth`` and ``edges`` (N, 1, …)."""
    for number in range(count):
        yield _batch(size, batch, torch.Generator().manual_seed(seed * 1_000_000 + number))


def losses(outputs: Batch, batch: Batch) -> Batch:
    """Each task's loss."""
    return {
        "seg": F.cross_entropy(outputs["seg"], batch["seg"]),
        "depth": F.l1_loss(outputs["depth"], batch["depth"]),
        "edges": F.binary_cross_entropy_with_logits(outputs["edges"], batch["edges"]),
    }


def _batch(size: int, count: int, generator: torch.Generator) -> Batch:
    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    rows = torch.arange(size).view(1, -1, 1) / size
    columns = torch.arange(size).view(1, 1, -1) / size
    seg = torch.zeros(count, size, size, dtype=torch.long)
    depth = (4 - 2 * rows).expand(count, size, size).clone()
    colour = draw(count, 3, 1, 1).expand(count, 3, size, size).clone() * 0.3
    for _ in range(5):
        kind, far = (draw(count) * 3).long().view(-1, 1, 1), 1 + 2.5 * draw(count, 1, 1)
        y, x, radius = draw(count, 1, 1), draw(count, 1, 1), (0.1 + 0.15 * draw(count, 1, 1)) * 3 / (1 + far)
        dy, dx = (rows - y) / radius, (columns - x) / radius
        disc, square = dy**2 + dx**2 < 1, torch.maximum(dy.abs(), dx.abs()) < 0.85
        ring = disc & (dy**2 + dx**2 > 0.4)
        here = torch.where(kind == 0, disc, torch.where(kind == 1, square, ring)) & (far < depth)
        seg = torch.where(here, kind + 1, seg)
        depth = torch.where(here, far + 0.2 * dy, depth)
        colour = torch.where(here[:, None], draw(count, 3, 1, 1) * 0.8 + 0.2, colour)
    step = F.max_pool2d(depth[:, None], 3, 1, 1) + F.max_pool2d(-depth[:, None], 3, 1, 1)
    shaded = colour * (1.2 - 0.2 * depth[:, None]) + 0.05 * draw(count, 3, size, size)
    return {"image": shaded * 2 - 0.5, "seg": seg, "depth": depth[:, None], "edges": (step > 0.3).float()}
