"""Bilinear resizing of maps, by two small matrix products where those are faster."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

LONGEST = 32
"""Longest side of maps for which the products are taken: their work a pixel grows with it, that of torch does not."""
MOST_CHANNELS_LAST = 16
"""Most channels of maps with channels last for which they are: torch's own loop is fast where there are many."""


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps of another size, as ``F.interpolate`` gives them: bilinear, without aligned corners.

    Decoders' maps of 4 to 32 a side that grow to an image's size take 0.1 to 0.7 of torch's time, forward and
    backward on one thread (``benchmarks/resize.py``). What is traced, compiled, exported or counted holds torch's own
    operation, which every format knows.

    Args:
        maps: ``(N, C, h, w)``, floating point.
        size: ``(H, W)``.
    """
    return multiplied(maps, size) if _pays(maps, size) else interpolated(maps, size)


def interpolated(maps: Tensor, size: Sequence[int]) -> Tensor:
    """By torch's own operation."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def multiplied(maps: Tensor, size: Sequence[int]) -> Tensor:
    """By two matrix products, of columns and of rows."""
    height, width = maps.shape[-2:]
    rows, columns = _weights(height, size[0], maps.dtype), _weights(width, size[1], maps.dtype)
    return rows.mT @ (maps @ columns)


def _pays(maps: Tensor, size: Sequence[int]) -> bool:
    """Whether the products are faster, as exact, and seen by nobody."""
    if type(maps) is not Tensor or maps.device.type != "cpu" or maps.dtype not in (torch.float32, torch.float64):
        return False  # also the stand-ins of whoever captures a graph
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._len_torch_dispatch_stack():
        return False
    if torch.is_autocast_enabled("cpu") or torch.get_float32_matmul_precision() != "highest":
        return False
    height, width = maps.shape[-2:]
    if max(height, width) > LONGEST:
        return False
    growth = min(size[0] / height, size[1] / width)
    return growth >= 2 if maps.is_contiguous() else growth >= 4 and maps.shape[1] <= MOST_CHANNELS_LAST


@lru_cache(maxsize=64)
def _weights(before: int, after: int, dtype: torch.dtype) -> Tensor:
    """What each value of a line gives to each value of the resized one, ``(before, after)``."""
    with torch.inference_mode(False), torch.no_grad():
        lines = torch.eye(before, dtype=dtype, device="cpu")[None]
        return F.interpolate(lines, size=after, mode="linear", align_corners=False)[0]
