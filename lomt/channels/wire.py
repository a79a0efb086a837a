"""Where the channels of a value come from."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.utils.weak import WeakTensorKeyDictionary

from lomt.tracing.trace import shape_of


class Kind(Enum):
    """What an operation does to channels, and to a channel that is constant."""

    READER = auto()  # a convolution or linear layer: every output channel may read every input channel
    POINTWISE = auto()  # each element from the elements at its place: constants stay constant
    SPATIAL = auto()  # within a channel, and a constant channel keeps its value
    PADDED = auto()  # within a channel, and only a channel of zeros keeps its value
    OWN = auto()  # within a channel, and nothing is known of its values
    GATHERED = auto()  # some channels, picked out: they may go though their source stays
    MOVED = auto()  # channels go to other places
    TENSOR = auto()  # a parameter or buffer that a pointwise operation reads


@dataclass
class Wire:
    """The channels of one node's value.

    Attributes:
        kind: what the operation does.
        axis: which dimension counts channels.
        channels: how many there are.
        links: ``(source node, index)``: channel ``i`` is made of the source's channel ``index[i]``; -1: of none.
        pinned: channels that must stay, whoever reads them; ``(channels,)``.
    """

    kind: Kind
    axis: int
    channels: int
    links: list[tuple[fx.Node, Tensor]] = field(default_factory=list)
    pinned: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))

    def __post_init__(self) -> None:
        if len(self.pinned) != self.channels:
            self.pinned = torch.zeros(self.channels, dtype=torch.bool)


class Wiring:
    """The wires of a graph.

    A node without a wire has channels that nobody may change: an input, or what an operation gives that is not known
    to be channel-wise. Whatever such an operation reads is pinned: it is a live reader of everything.

    Attributes:
        wires: by node, in order of execution.
        present: nodes of which at least one channel must stay, because their size is read.
        shared: names of layers that have a tensor in common with another one.
        seen: by weight, what :meth:`reads` gave; weights that become others are replaced, never changed.
    """

    def __init__(self, root: nn.Module, graph: fx.Graph, seen: WeakTensorKeyDictionary | None = None) -> None:
        self.seen = WeakTensorKeyDictionary() if seen is None else seen
        self.root = root
        self.graph = graph
        self.wires: dict[fx.Node, Wire] = {}
        self.present: set[fx.Node] = set()
        self.shared: set[str] = set()

    def __getitem__(self, node: fx.Node) -> Wire:
        return self.wires[node]

    def __contains__(self, node: object) -> bool:
        return node in self.wires

    def pin(self, node: fx.Node) -> None:
        """Keep all channels of a node's value."""
        if node in self.wires:
            self.wires[node].pinned[:] = True

    def module(self, node: fx.Node) -> Any:
        """The layer that a ``call_module`` node calls."""
        return self.root.get_submodule(str(node.target))

    def alone(self, node: fx.Node) -> bool:
        """Whether the layer of a ``call_module`` node is called nowhere else, and its tensors are no other layer's."""
        calls = sum(other.op == node.op and other.target == node.target for other in self.graph.nodes)
        return calls == 1 and str(node.target) not in self.shared

    def has_widths(self, node: fx.Node) -> bool:
        """Whether a tensor of the node's layer, or the node itself, is as wide as what it is given."""
        if node.op == "call_module":
            return any(tensor.numel() > 1 for tensor in self.module(node).state_dict().values())
        return node.op == "get_attr"

    def readers(self) -> Iterator[tuple[fx.Node, Wire]]:
        """Convolutions and linear layers, in order of execution."""
        return ((node, wire) for node, wire in self.wires.items() if wire.kind is Kind.READER)

    def reads(self, node: fx.Node) -> Tensor:
        """Which inputs each output of a reader has a weight for; ``(groups, out / groups, in / groups)`` bool."""
        layer = self.module(node)
        if layer.weight not in self.seen:
            weight = weight_by_group(layer).bool()
            self.seen[layer.weight] = any_along(weight, 3) if weight.shape[3] > 1 else weight[..., 0]
        found: Tensor = self.seen[layer.weight]
        return found

    def hang(self, holder: str, name: str, tensor: Tensor) -> str:
        """Register a parameter or buffer under a new name below ``holder``, which is made if need be; the full name."""
        if holder not in self.root._modules:
            self.root.add_module(holder, nn.Module())
        place = self.root.get_submodule(holder)
        while hasattr(place, name):
            name += "_"
        if isinstance(tensor, nn.Parameter):
            place.register_parameter(name, tensor)
        else:
            place.register_buffer(name, tensor)
        return f"{holder}.{name}"

    def through(self, node: fx.Node, source: fx.Node, kind: Kind, axis: int | None = None) -> Wire | None:
        """A wire whose channel ``i`` is the source's channel ``i``; None where the source has no wire."""
        shape = shape_of(node)
        if source not in self.wires or shape is None:
            return None
        wire = self.wires[source]
        axis = wire.axis if axis is None else axis
        if axis >= len(shape) or shape[axis] != wire.channels:
            return None
        return Wire(kind, axis, wire.channels, [(source, torch.arange(wire.channels))])


def weight_by_group(layer: Any) -> Tensor:
    """A reader's weight as ``(groups, out / groups, in / groups, taps of the kernel)``."""
    weight: Tensor = layer.weight.detach().cpu()
    if isinstance(layer, nn.Linear):
        return weight[None, ..., None]
    weight = weight.reshape(layer.groups, -1, *weight.shape[1:])
    if isinstance(layer, _ConvTransposeNd):
        weight = weight.transpose(1, 2)
    return weight.flatten(3)


def any_along(mask: Tensor, dim: int) -> Tensor:
    """``mask.any(dim)``, for which torch takes twenty times as long."""
    return mask.view(torch.uint8).amax(dim).bool() if mask.shape[dim] else mask.any(dim)
