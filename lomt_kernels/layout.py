"""How groups lie in a weight, whatever backend works on them."""

from typing import Literal

import torch
from torch import Tensor

Axis = Literal["in", "out"]
AXES: tuple[Axis, ...] = ("in", "out")
"""Groups are input channels, or output channels; operations take the place in this tuple."""

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

Form = tuple[int, int, int, int, int, int]


def wide(dtype: torch.dtype) -> torch.dtype:
    """What norms, thresholds and metrics of weights of a dtype are held in: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def group_count(weight: Tensor, axis: int, groups: int, block: int) -> int:
    """How many groups a weight has."""
    return (weight.shape[0] if axis else weight.shape[1] * groups) // block


def check_groups(weight: Tensor, axis: str, groups: int, block: int) -> int:
    """The axis's number, if a weight has groups of this kind.

    Raises:
        TypeError: the weight is no dense tensor of real floating-point numbers.
        ValueError: axis, groups or block do not fit it.
    """
    if not isinstance(weight, Tensor) or weight.dtype not in FLOATS or weight.layout != torch.strided:
        raise TypeError(_of_what(weight))
    if type(weight) not in (Tensor, torch.nn.Parameter) and hasattr(weight, "placements"):
        raise TypeError("a DTensor's groups may lie on several devices: use its local tensor, weight.to_local()")
    if axis not in AXES:
        raise ValueError(f"unknown axis {axis!r}: groups are 'in' or 'out' channels")
    if weight.ndim < 2:
        raise ValueError(
            f"a weight of shape {tuple(weight.shape)} has no channels to group: weights are (out, in, *kernel)"
        )
    out, inner, *_ = weight.shape
    if groups < 1 or out % groups:
        raise ValueError(f"groups={groups} does not divide the weight's {out} output channels")
    if axis == "in":
        if block < 1 or inner % block:
            raise ValueError(f"block={block} does not divide the {inner} input channels of a conv group")
        return 0
    if block < 1 or (out // groups) % block:
        raise ValueError(f"block={block} does not divide the {out // groups} output channels of a conv group")
    return 1


def _of_what(weight: object) -> str:
    if not isinstance(weight, Tensor):
        return f"a weight is a tensor, not {type(weight).__name__}"
    if weight.layout != torch.strided:
        return f"a weight of layout {weight.layout} has no strides: give weight.to_dense()"
    return f"groups are of floating-point weights, not of {weight.dtype}"


def memory_format(weight: Tensor) -> torch.memory_format:
    """The layout of results: channels_last where the weight has it, else contiguous."""
    if not weight.is_contiguous():
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        last = formats.get(weight.ndim)
        if last is not None and weight.is_contiguous(memory_format=last):
            return last
    return torch.contiguous_format


def new_like(weight: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """An empty tensor for a result of the weight's shape."""
    if dtype is None and weight.is_contiguous():
        return torch.empty_like(weight)  # the same, without the time that an argument takes
    return torch.empty_like(weight, dtype=dtype, memory_format=memory_format(weight))


def form_of(weight: Tensor, axis: int, groups: int, block: int) -> Form:
    """Where the groups of a weight lie that is not empty, and laid out as its :func:`memory_format`.

    See ``csrc/common/form.h``.

    Returns:
        (parts, stride of a part, rows, stride of a row, length of a row, adjacent numbers of one group in a row).
    """
    out, inner, *_ = weight.shape
    size = weight.numel() // out
    if axis:
        return 1, 0, 1, 0, out * size, block * size
    rows, window = out // groups, size // inner
    if weight.is_contiguous():
        return groups, rows * size, rows, size, size, block * window
    return groups, rows * size, rows * window, inner, inner, block
