"""What modules take and give: tensors, alone or in lists, tuples and dicts of each other."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors of a value, depth first.

    Example:
        >>> import torch
        >>> one, two = torch.zeros(1), torch.zeros(2)
        >>> [tensor.numel() for tensor in tensors_in({"seg": [one, "no tensor"], "depth": (two, {3: one})})]
        [1, 2, 1]
    """
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple | set) else ()
    return [tensor for part in parts for tensor in tensors_in(part)]
