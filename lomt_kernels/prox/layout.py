"""Where the groups of a step's weights lie, and copies of what lies otherwise."""

from functools import cache

import torch
from torch import Tensor

from lomt_kernels.layout import Form, form_of, memory_format


@cache
def place(shape: torch.Size, strides: tuple[int, ...], axis: int, groups: int, block: int) -> Form | tuple[()] | None:
    """Where a weight's groups lie; an empty tuple where it is not laid out densely, None where there is nothing."""
    weight = torch.empty_strided(shape, strides, device="meta")
    if weight.numel() == 0:
        return None
    if not weight.is_contiguous(memory_format=memory_format(weight)):
        return ()
    return form_of(weight, axis, groups, block)


def place_of_copy(shape: torch.Size, axis: int, groups: int, block: int) -> Form:
    """Where the groups of a contiguous copy lie that has members."""
    form = place(shape, _contiguous(shape), axis, groups, block)
    assert form
    return form


def laid_out(tensor: Tensor, weight: Tensor, dense: bool, back: list[tuple[Tensor, Tensor]] | None) -> Tensor:
    """A tensor as its weight lies in memory, or contiguous where the weight is not dense.

    ``back`` notes a copy; None for what is only read.

    Raises:
        ValueError: it is expanded, so that what is written to it overlaps.
    """
    if back is not None and any(
        stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True)
    ):
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is expanded: what is written to it would overlap")
    copy = tensor.contiguous(memory_format=memory_format(weight) if dense else torch.contiguous_format)
    if back is not None and copy is not tensor:
        back.append((tensor, copy))
    return copy


@cache
def _contiguous(shape: torch.Size) -> tuple[int, ...]:
    return torch.empty(shape, device="meta").stride()
