"""A network's raw output as the predictions of a picture of any size, in bounded memory."""

import torch
from torch import Tensor

from lomt.tasks import Task

VALUES = 2**24
"""Most values of a raw output that are held at the picture's size: larger pictures are made in strips of rows."""


def prediction_at(task: Task, output: Tensor, size: tuple[int, int]) -> Tensor:
    """What a user reads, at a picture's size: the raw output is enlarged between pixel centres, then interpreted.

    Args:
        task: a dense task.
        output: ``(C, h, w)``, raw.
        size: height and width of the picture.

    Returns:
        ``task.prediction`` without the batch dimension, as :func:`torch.nn.functional.interpolate` (bilinear,
        ``align_corners=False``) of the whole output would give it.
    """
    height, width = size
    wide = _between(output.float(), width)
    rows = max(1, VALUES // (output.shape[0] * width))
    whole = torch.empty(0)
    for begin in range(0, height, rows):
        end = min(begin + rows, height)
        strip = task.prediction(_between(wide.transpose(-1, -2), height, begin, end).mT[None])[0]
        if not begin:
            whole = strip.new_empty((*strip.shape[:-2], height, width))
        whole[..., begin:end, :] = strip
    return whole


def _between(map_: Tensor, length: int, begin: int = 0, end: int | None = None) -> Tensor:
    """Positions ``begin … end − 1`` of the last axis, if that were resized linearly to ``length``."""
    known = map_.shape[-1]
    positions = (torch.arange(begin, length if end is None else end) + 0.5) * (known / length) - 0.5
    positions = positions.clamp(0, known - 1)
    low = positions.long().clamp(max=max(known - 2, 0))
    share = positions - low
    return map_[..., low] * (1 - share) + map_[..., (low + 1).clamp(max=known - 1)] * share
