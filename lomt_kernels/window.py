"""How a convolution's window moves over its input: strides, paddings, dilations, sizes, layouts."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[int, int]


def pair(value: int | Sequence[int], name: str, dims: int, least: int) -> Pair:
    """(height, width) from a number or one a dimension; a 1-D convolution is 2-D of height 1.

    Raises:
        TypeError: something else.
        ValueError: too many, or below the least that there can be.
    """
    if type(value) is int and value >= least and dims == 2:
        return value, value
    numbers = tuple(value) if isinstance(value, Sequence) else (value,) * dims
    if not all(isinstance(number, int | torch.SymInt) for number in numbers):
        raise TypeError(f"{name}={value!r}: give whole numbers")
    if len(numbers) == 1:
        numbers *= dims
    if len(numbers) != dims or any(number < least for number in numbers):
        raise ValueError(f"{name}={value!r}: give a number of {least} or more, or {dims} of them")
    return numbers if dims == 2 else (1 if least else 0, numbers[0])  # type: ignore[return-value]


def same(kernel: Sequence[int], dilation: Pair) -> tuple[Pair, Pair]:
    """What ``padding="same"`` adds above and to the left, and how much more below and to the right."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return (total[0] // 2, total[1] // 2), (total[0] % 2, total[1] % 2)


def padded(x: Tensor, above: Pair, more: Pair, mode: str) -> Tensor:
    """The input with so much around it, and more below and to the right, by one of torch's padding modes."""
    sides = [above[1], above[1] + more[1], above[0], above[0] + more[0]]
    return F.pad(x, sides, mode="constant" if mode == "zeros" else mode)


def output_size(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """Height and width of the output."""
    return [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    ]


def memory_format(x: Tensor, weight: Tensor) -> torch.memory_format:
    """The layout of outputs: channels_last where the input or the weight has it, as torch's convolutions do."""
    last = _channels_last(x) or _channels_last(weight)
    return torch.channels_last if last else torch.contiguous_format


def _channels_last(tensor: Tensor) -> bool:
    """Whether torch takes these strides for channels_last: a slice of a 1×1 kernel's inputs has channels at 1, too."""
    least = 0
    for dim in (1, 3, 2, 0):
        stride, size = tensor.stride(dim), tensor.shape[dim]
        # Where all strides are one, it is contiguous as well.
        if not size or (dim == 1 and not stride) or stride < least or (dim == 0 and least == tensor.stride(1)):
            return False
        least = stride * size if size > 1 else stride
    return True


def new_map(x: Tensor, channels: int) -> Tensor:
    """An empty map of so many channels, laid out as another one."""
    layout = torch.channels_last if _channels_last(x) else torch.contiguous_format
    return torch.empty((x.shape[0], channels, *x.shape[2:]), dtype=x.dtype, device=x.device, memory_format=layout)
