"""Missing labels: they cost nothing, count nowhere, and leak no NaN into a gradient."""

import torch
from torch import Tensor

NO_CLASS = -1
"""Class id of an image without a label."""


def full_precision(output: Tensor) -> Tensor:
    """A network's output in float32 at least, whatever autocast made of it.

    Args:
        output: any floating tensor; float64 stays float64.
    """
    return output.to(torch.promote_types(output.dtype, torch.float32))


def mean_where(values: Tensor, valid: Tensor) -> Tensor:
    """Exact mean of ``values`` over ``valid``; 0, with a graph, where nothing is valid.

    Args:
        values: finite everywhere, also where a label is missing: a NaN under a mask would still poison the
            gradient.
        valid: bool, of the shape of ``values``.

    Example:
        >>> mean_where(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([True, True, False]))
        tensor(1.5000)
    """
    kept = torch.where(valid, values, values.new_zeros(()))
    return kept.sum() / valid.sum().clamp(min=1)
