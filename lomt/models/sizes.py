"""A forward pass for the sizes alone: what takes its time, convolutions and products, gives zeros."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = {F.conv1d, F.conv2d, F.conv3d}


class SizesOnly(TorchFunctionMode):
    """While this is on, convolutions are not computed: their outputs have the right sizes, and zeros in them."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        size = _size(*args) if func in _CONVOLUTIONS and not kwargs else None
        return func(*args, **(kwargs or {})) if size is None else args[0].new_zeros(size)


def _size(
    given: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> list[int] | None:
    """The output's shape; None where the convolution had better say it, or what is wrong, itself."""
    if given.device.type == "meta" or torch.is_autocast_enabled(given.device.type):
        return None
    rank = weight.dim() - 2
    odd = given.dim() != rank + 2 or given.shape[1] != weight.shape[1] * groups or given.dtype != weight.dtype
    if odd or isinstance(padding, str) or given.device != weight.device or (bias is not None and bias.dim() != 1):
        return None
    each = [list(value) if isinstance(value, list | tuple) else [value] * rank for value in (stride, padding, dilation)]
    each = [value * rank if len(value) == 1 else value for value in each]
    sizes = [
        (size + 2 * pad - apart * (kernel - 1) - 1) // step + 1
        for size, kernel, step, pad, apart in zip(given.shape[2:], weight.shape[2:], *each, strict=True)
    ]
    return [len(given), len(weight), *sizes] if min(sizes) > 0 else None
