"""Whether two tensors, or a module and what was made of it, agree up to rounding."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lomt.modes import evaluating
from lomt.nested import tensors_in
from lomt.tracing.trace import Example, example_arguments


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


@torch.no_grad()
def verify(small: nn.Module, expected: Any, example: Example) -> None:
    """Raise ``RuntimeError`` where a graph's outputs for the example are not the module's."""
    with evaluating(small):
        found = small(*example_arguments(example))
    for a, b in zip(tensors_in(expected), tensors_in(found), strict=True):
        if not a.is_floating_point():
            continue
        tolerance = 1e-8 if a.dtype == torch.float64 else 1e-3 if a.dtype == torch.float32 else 0.05
        error = relative_error(a, b, floor=1e-2)
        if error > tolerance:
            raise RuntimeError(
                f"the compacted module gives {tuple(b.shape)} and differs by {error:.2g} relative from the original's "
                f"{tuple(a.shape)}: please report the module; opaque=[...] leaves parts of it alone"
            )
