"""Which part of a tensor is left: the same cut serves a weight, its gradient and its optimizer's state."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cut:
    """A part of a tensor.

    Attributes:
        axes: for a dimension, the indices that are left, in order.
        columns: in a grouped convolution each row keeps inputs of its own: ``(rows left, columns left)``, indices into
            dimension 1; taken after dimension 0 was cut.
    """

    axes: dict[int, Tensor] = field(default_factory=dict)
    columns: Tensor | None = None

    def __call__(self, tensor: Tensor) -> Tensor:
        """The part of ``tensor`` that is left, a copy in the same memory format."""
        channels_last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        for axis, index in self.axes.items():
            tensor = tensor.index_select(axis, index.to(tensor.device))
        if self.columns is not None:
            rows = torch.arange(len(tensor), device=tensor.device)[:, None]
            tensor = tensor[rows, self.columns.to(tensor.device)]
        last = channels_last and not tensor.is_contiguous()
        return tensor.contiguous(
            memory_format=torch.channels_last if last or channels_last else torch.contiguous_format
        )

    def back(self, part: Tensor, shape: Sequence[int]) -> Tensor:
        """A tensor of ``shape`` that holds ``part`` where it was cut from, and 0 elsewhere."""
        if self.columns is not None:
            wide = part.new_zeros(len(part), *shape[1:])
            wide[torch.arange(len(part), device=part.device)[:, None], self.columns.to(part.device)] = part
            part = wide
        for axis, index in self.axes.items():
            wide = part.new_zeros(*part.shape[:axis], shape[axis], *part.shape[axis + 1 :])
            part = wide.index_copy_(axis, index.to(part.device), part)
        return part


def grouped(rows: Tensor, columns: Tensor, groups: int) -> Cut:
    """The cut of a grouped convolution's weight ``(rows, columns / groups, …)``.

    Args:
        rows: rows that stay; ``(rows,)`` bool.
        columns: columns of all groups, one after the other, that stay; ``(columns,)`` bool. Groups of which something
            stays have equally many of them.
        groups: how many groups there were.
    """
    row_group = torch.arange(len(rows)) // (len(rows) // groups)
    by_group = columns.view(groups, -1)
    index = torch.stack([by_group[g].nonzero().flatten() for g in row_group[rows]])
    return Cut({0: rows.nonzero().flatten()}, index)
