"""What compaction removed, for reports and for optimizers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

Widths = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Cut:
    """Which part of a tensor is left: of a weight, and so of its gradient and its optimizer's state.

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


@dataclass(frozen=True)
class Compaction:
    """What became of a module.

    Attributes:
        before: ``(input, output)`` channels of each convolution and linear layer, by name.
        after: the same for the layers that are left.
        parameters: how many numbers there were, and are.
        cuts: for each parameter and buffer that became smaller, the part that is left; all other ones are whole.
        gone: parameters and buffers that took part in the outputs, by name, of which nothing is left.
        notes: what should be said, such as why nothing could be done.
    """

    before: Widths = field(default_factory=dict)
    after: Widths = field(default_factory=dict)
    parameters: tuple[int, int] = (0, 0)
    cuts: dict[str, Cut] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """Whether the module is unchanged."""
        return self.before == self.after

    @property
    def removed(self) -> list[str]:
        """Layers that are gone."""
        return [name for name in self.before if name not in self.after]

    def between(self, before: Widths, after: Widths, module: nn.Module, small: nn.Module) -> "Compaction":
        """The same record with the sizes of both modules."""
        sizes = tuple(sum(p.numel() for p in m.parameters()) for m in (module, small))
        return replace(self, before=before, after=after, parameters=(sizes[0], sizes[1]))

    def __str__(self) -> str:
        said = "".join(f"; {note}" for note in self.notes)
        if self.nothing:
            return f"nothing is dead, unchanged{said}"
        smaller = sum(self.after.get(name) not in (None, size) for name, size in self.before.items())
        old, new = self.parameters
        return (
            f"{len(self.removed)} of {len(self.before)} layers removed, {smaller} narrowed, "
            f"{old:,} → {new:,} parameters{said}"
        )


def widths(module: nn.Module) -> Widths:
    """``(input, output)`` channels of each convolution and linear layer below ``module``."""
    found: Widths = {}
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            found[name] = (layer.in_features, layer.out_features)
        elif hasattr(layer, "kernel_size") and hasattr(layer, "groups"):
            found[name] = (layer.in_channels, layer.out_channels)
    return found
