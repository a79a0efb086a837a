"""Which weights live or die together: the channels of convolutions, as views on their parameters."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

Axis = Literal["in", "out"]
AXES: tuple[Axis, ...] = ("in", "out")
MEMBERS = (-2, -1)
"""The dimensions of a tensor of groups that are the members of one."""


class GroupView(NamedTuple):
    """The groups of one layer's weight.

    Attributes:
        name: dotted name of the layer, as in ``named_modules()``.
        parameter: its weight, ``(out, in / conv_groups, *kernel)``.
        axis: the dimension of the weight whose index names a group: ``"in"`` the second, ``"out"`` the first. For
            a transposed convolution, which stores its weight the other way round, it is the other one than asked.
        conv_groups: into how many independent convolutions the layer is divided.
    """

    name: str
    parameter: Tensor
    axis: Axis
    conv_groups: int = 1

    @property
    def tensor(self) -> Tensor:
        """The weight as ``(blocks, channels, rows, columns)``, a view: one group is ``tensor[b, c]``."""
        return grouped(self.parameter, self.axis, self.conv_groups)

    @property
    def channels(self) -> int:
        """How many groups there are: channels of the layer."""
        blocks, channels = self.tensor.shape[:2]
        return blocks * channels

    @property
    def size(self) -> int:
        """How many weights one group has."""
        return self.parameter.numel() // self.channels

    @property
    def alive(self) -> Tensor:
        """Which groups have a weight that is not exactly 0, ``(channels,)`` of bool."""
        return self.tensor.detach().ne(0).any(-1).any(-1).flatten()


def grouped(weight: Tensor, axis: Axis, conv_groups: int = 1) -> Tensor:
    """A view of a convolution's weight in which the last two dimensions are the members of one group.

    Args:
        weight: ``(out, in / conv_groups, *kernel)``; a linear layer's ``(out, in)`` too.
        axis: ``"in"``: one group an input channel. ``"out"``: one group an output channel.
        conv_groups: the convolution's ``groups``. An input channel of its g-th part is read by that part's
            outputs alone, so the group is that part's slice and not ``weight[:, c]``.

    Returns:
        ``(blocks, channels, rows, columns)`` over the same memory; the group of channel number
        ``block * channels + c`` is ``[block, c]``.

    Raises:
        ValueError: the weight has fewer than two dimensions, or the axis or the division can't be.
    """
    if axis not in AXES:
        raise ValueError(f"unknown axis {axis!r}: groups are 'in' or 'out' channels")
    if weight.ndim < 2:
        raise ValueError(
            f"a weight of shape {tuple(weight.shape)} has no channels to group: give penalties to weights of "
            "convolutions and linear layers only, and put the rest into a parameter group with penalty=None"
        )
    # view, never reshape: a copy would not reach the weight.
    out, inner, *kernel = weight.shape
    if axis == "out":
        return weight.view(1, out, 1, -1) if weight.is_contiguous() else weight.view(1, out, inner, prod(kernel))
    if conv_groups < 1 or out % conv_groups:
        raise ValueError(f"{out} output channels can't be divided into conv_groups={conv_groups}")
    return weight.view(conv_groups, out // conv_groups, inner, prod(kernel)).transpose(1, 2)


def channel_groups(
    module: nn.Module, axis: Axis = "in", kinds: type[nn.Module] | Sequence[type[nn.Module]] = nn.Conv2d
) -> list[GroupView]:
    """Every channel of every convolution below a module, as groups, in the order of ``named_modules()``.

    Args:
        module: a network or a part of one.
        axis: ``"in"``: one group an input channel (as LOMT has it). ``"out"``: one an output channel.
        kinds: the layers that count: classes whose ``weight`` is laid out as a convolution's; ``nn.Linear`` and
            transposed convolutions work too. A weight that several layers share is listed once.

    Raises:
        ValueError: unknown axis.

    Example:
        >>> from torch import nn
        >>> [(view.name, view.channels, view.size) for view in channel_groups(nn.Sequential(nn.Conv2d(3, 8, 3)))]
        [('0', 3, 72)]
    """
    return list(_views(module, axis, kinds if isinstance(kinds, type) else tuple(kinds)))


def _views(module: nn.Module, axis: Axis, kinds: type[nn.Module] | tuple[type[nn.Module], ...]) -> Iterator[GroupView]:
    seen: set[int] = set()
    if axis not in AXES:
        raise ValueError(f"unknown axis {axis!r}: groups are 'in' or 'out' channels")
    for name, layer in module.named_modules():
        # A parametrized weight (weight norm, say) is computed anew at each access: there's nothing to set to zero.
        weight = layer._parameters.get("weight") if isinstance(layer, kinds) else None
        if weight is None or id(weight) in seen:
            continue
        seen.add(id(weight))
        swapped: Axis = "out" if axis == "in" else "in"
        stored = swapped if isinstance(layer, _ConvTransposeNd) else axis
        yield GroupView(name, weight, stored, int(getattr(layer, "groups", 1)))


def total(values: Tensor) -> Tensor:
    """Sum over the members of every group, along memory where that is cheap."""
    if _short_runs(values):
        return values.sum(-2).sum(-1)
    return values.sum(MEMBERS)


def _short_runs(values: Tensor) -> bool:
    rows, columns = values.shape[-2:]
    return 1 < columns <= 64 and rows > 1 and values.stride(-1) == 1 and values.stride(-2) > columns
