"""Whether two tensors are the same up to rounding, NaNs and infinities included."""

import math

from torch import Tensor


def relative_error(wanted: Tensor, found: Tensor, floor: float = 1e-30) -> float:
    """Largest difference over the largest finite value of ``wanted``, or over ``floor`` if that is more.

    Infinite where the shapes differ, or where one has a NaN or an infinity that the other has not.

    Example:
        >>> import torch
        >>> relative_error(torch.tensor([2.0, 4.0, math.nan]), torch.tensor([2.0, 3.0, math.nan]))
        0.25
        >>> relative_error(torch.tensor([2.0, 4.0]), torch.tensor([2.0, math.nan]))
        inf
    """
    if wanted.shape != found.shape:
        return math.inf
    if not wanted.numel():
        return 0.0
    wanted, found = wanted.double(), found.double()
    same = wanted.eq(found) | (wanted.isnan() & found.isnan())
    scale = wanted.abs().nan_to_num(0, 0, 0).max().clamp(min=floor)
    return float(((wanted - found).abs() / scale).where(~same, 0).nan_to_num(math.inf).max())
