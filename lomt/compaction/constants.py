"""Which channels are constant: the same number at every place, for every input."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lomt.channels.functions import function_name
from lomt.channels.layers import pads_with_zeros
from lomt.channels.wire import Kind, Wire, Wiring, any_along, weight_by_group
from lomt.tracing.trace import shape_of


class Constant(NamedTuple):
    """What is known of the values of one node.

    Attributes:
        known: which channels are constant; ``(channels,)`` bool.
        value: their values, 0 where unknown; ``(channels,)`` in the network's dtype.
        alone: channels whose value does not even depend on the operands (a factor of 0); ``(channels,)`` bool.
    """

    known: Tensor
    value: Tensor
    alone: Tensor


Constants = dict[fx.Node, Constant]


def constants(wiring: Wiring) -> Constants:
    """Follow constants through the graph in eval mode.

    A convolution whose filters are 0, or that reads zeros only, emits its bias; batch norm and activations make
    another constant of it. A constant that is not 0 ends at a convolution that pads with zeros, since the map's
    border differs then from its middle, and at an average pooling that counts the padding.
    """
    found: Constants = {}
    for node, wire in wiring.wires.items():
        found[node] = _constant(wiring, node, wire, found)
    return found


def _constant(wiring: Wiring, node: fx.Node, wire: Wire, found: Constants) -> Constant:
    value = node.meta.get("value")
    if wire.kind is Kind.OWN or not isinstance(value, Tensor) or not value.dtype.is_floating_point:
        return _unknown(wire)
    if wire.kind is Kind.READER:
        return _read(wiring, node, found)
    if wire.kind is Kind.TENSOR:
        return _tensor(wiring, node, wire)
    if wire.kind is Kind.POINTWISE:
        return _pointwise(wiring, node, wire, found)
    result = _unknown(wire)
    for source, index in wire.links:
        there, here = index.clamp(min=0), index >= 0
        zero_only = wire.kind is Kind.PADDED
        known = found[source].known & (found[source].value.eq(0) | (not zero_only))
        result.known[here] = known[there][here]
        result = result._replace(value=torch.where(here, found[source].value[there], result.value))
    return result._replace(value=result.value.where(result.known, 0))


def _unknown(wire: Wire) -> Constant:
    none = torch.zeros(wire.channels, dtype=torch.bool)
    return Constant(none, torch.zeros(wire.channels, dtype=torch.float64), none.clone())


def emitted(layer: Any, value: Tensor) -> Tensor:
    """What a reader makes of constant inputs ``(groups, in / groups)`` away from the border; ``(out,)``, no bias."""
    weight = weight_by_group(layer)
    columns = value.ne(0).any(0)
    total = weight[:, :, columns].sum(3).double() if columns.any() else weight.new_zeros(*weight.shape[:2], 0).double()
    return torch.einsum("goi,gi->go", total, value[:, columns].double()).flatten()


def _read(wiring: Wiring, node: fx.Node, found: Constants) -> Constant:
    layer, reads = wiring.module(node), wiring.reads(node)
    groups, _, width = reads.shape
    source = node.all_input_nodes[0]
    known, value = torch.zeros(groups * width, dtype=torch.bool), torch.zeros(groups * width, dtype=layer.weight.dtype)
    if source in found:
        known, value = found[source].known, found[source].value.to(layer.weight.dtype)
    usable = known & (value.eq(0) | (not pads_with_zeros(layer)))
    if usable.any():
        reads = reads[:, :, ~usable] if groups == 1 else reads & ~usable.view(groups, 1, width)
    varying = any_along(reads, 2).flatten()
    constant = emitted(layer, value.view(groups, width))
    if layer.bias is not None:
        constant = constant + layer.bias.detach().cpu().double()
    return Constant(~varying, constant.where(~varying, 0), torch.zeros_like(varying))


def _tensor(wiring: Wiring, node: fx.Node, wire: Wire) -> Constant:
    tensor = node_tensor(wiring.root, node)
    if tensor.numel() != wire.channels:
        return _unknown(wire)
    every = torch.ones(wire.channels, dtype=torch.bool)
    return Constant(every, tensor.detach().cpu().double().flatten(), ~every)


def node_tensor(root: nn.Module, node: fx.Node) -> Tensor:
    """The parameter or buffer of a ``get_attr`` node."""
    path, _, name = str(node.target).rpartition(".")
    tensor: Tensor = getattr(root.get_submodule(path), name)
    return tensor


def _pointwise(wiring: Wiring, node: fx.Node, wire: Wire, found: Constants) -> Constant:
    operands = [source for source, _ in wire.links]
    tensors = [n for n in node.all_input_nodes if shape_of(n) is not None]
    if len(operands) != len(tensors) or any(n not in tensors and n.target != "training" for n in node.all_input_nodes):
        return _unknown(wire)
    known = torch.stack([found[n].known for n in operands]).all(0)
    alone = _ignores_operands(wiring, node, wire, found)
    if not (known | alone).any():
        return _unknown(wire)
    value = _evaluate(wiring, node, wire, {n: found[n].value for n in operands})
    return Constant(known | alone, value.where(known | alone, 0), alone)


def _ignores_operands(wiring: Wiring, node: fx.Node, wire: Wire, found: Constants) -> Tensor:
    """Channels that a factor of 0 makes constant: a norm's weight, or one side of a product."""
    if node.op == "call_module":
        layer = wiring.module(node)
        scaled = isinstance(layer, _BatchNorm) and layer.weight is not None
        return layer.weight.detach().cpu().eq(0) if scaled else torch.zeros(wire.channels, dtype=torch.bool)
    zeros = [found[n].known & found[n].value.eq(0) for n, _ in wire.links]
    product = function_name(node) in ("mul", "imul", "multiply")
    return torch.stack(zeros).any(0) if product else torch.zeros(wire.channels, dtype=torch.bool)


def _evaluate(wiring: Wiring, node: fx.Node, wire: Wire, values: dict[fx.Node, Tensor]) -> Tensor:
    """Run the operation itself, in the network's own dtype, on maps of one place."""
    tensors: dict[fx.Node, Any] = {}
    for source, value in values.items():
        like: Any = source.meta["value"]
        axis = wiring[source].axis
        shape = [1] * like.dim()
        shape[axis] = wire.channels
        tensors[source] = value.clone().to(like.dtype).view(shape)  # the operation may write in place
    for other in node.all_input_nodes:
        tensors.setdefault(other, False)  # the flag of training
    arguments: Any = fx.node.map_arg(node.args, tensors.__getitem__)
    keywords: Any = fx.node.map_arg(node.kwargs, tensors.__getitem__)
    result: Any
    with torch.no_grad():
        if node.op == "call_module":
            layer = wiring.module(node)
            device = next((t.device for t in layer.state_dict().values()), torch.device("cpu"))
            result = layer(*(a.to(device) for a in arguments))
        elif node.op == "call_method":
            result = getattr(torch.Tensor, str(node.target))(*arguments, **keywords)
        else:
            result = node.target(*arguments, **keywords)  # type: ignore[operator]
    values_after: Tensor = result.detach().cpu().double().flatten()
    return values_after
