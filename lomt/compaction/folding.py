"""Constant folding: what is constant becomes part of a bias, or a parameter, or nothing."""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd

from lomt.channels.functions import function_name
from lomt.channels.wire import Kind, Wiring, any_along
from lomt.compaction.aliasing import remove_dead_code
from lomt.compaction.constants import Constants, emitted
from lomt.compaction.liveness import Live, read_channels
from lomt.tracing.trace import shape_of

_OUT_OF_PLACE = {operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul}
_SUMS = {"add", "iadd", "sub", "isub"}


def cut_dead_branch(wiring: Wiring, known: Constants, wanted: Live) -> bool:
    """Replace one constant operand of a pointwise operation; whether there was one.

    The other operand must have the result's shape by itself. Zeros that are added vanish together with the sum; other
    constants become a parameter of one number a channel, and go into the bias of the layer before if it has no
    other reader.
    """
    for node, wire in wiring.wires.items():
        if wire.kind is not Kind.POINTWISE or node.op == "call_module" or len(wire.links) != 2:
            continue
        for dead, other in ((0, 1), (1, 0)):
            branch, stream = wire.links[dead][0], wire.links[other][0]
            matters = wanted[node]
            if wiring[branch].kind is Kind.TENSOR or shape_of(stream) != shape_of(node):
                continue
            same_type = stream.meta["value"].dtype == node.meta["value"].dtype
            if same_type and matters.any() and bool(known[branch].known[matters].all()):
                told = matters | known[node].known  # readers that fold a channel do not ask for it
                values = known[branch].value.where(known[branch].known & told, 0)
                _cut(wiring, node, branch, stream, values)
                remove_dead_code(wiring.graph)
                return True
    return False


def _cut(wiring: Wiring, node: fx.Node, branch: fx.Node, stream: fx.Node, values: Tensor) -> None:
    name, plain = function_name(node), len(node.args) == 2 and not node.kwargs
    if name in _SUMS and plain and (name in ("add", "iadd") or node.args[1] is branch):
        shift = values if name in ("add", "iadd") else -values
        if bool(shift.eq(0).all()) or _into_bias(wiring, stream, shift):
            node.replace_all_uses_with(stream)
            return
    shape = [1] * len(shape_of(node) or ())
    shape[wiring[node].axis] = len(values)
    like = next(wiring.root.parameters())
    constant = nn.Parameter(values.to(like).view(shape), requires_grad=like.requires_grad)
    with wiring.graph.inserting_before(node):
        tensor = wiring.graph.get_attr(wiring.hang("constants", branch.name, constant))
    tensor.meta["value"] = torch.empty(shape, dtype=constant.dtype, device="meta")
    node.replace_input_with(branch, tensor)
    if node.target in _OUT_OF_PLACE:
        node.target = _OUT_OF_PLACE[node.target]
    elif node.op == "call_method":
        node.target = str(node.target).removesuffix("_")


def _into_bias(wiring: Wiring, stream: fx.Node, shift: Tensor) -> bool:
    """Add a constant to the bias of the layer that gives ``stream``, if nobody else reads it."""
    if stream.op != "call_module" or len(stream.users) != 1:
        return False
    layer = wiring.module(stream)
    is_layer = wiring[stream].kind is Kind.READER or (isinstance(layer, _BatchNorm) and layer.weight is not None)
    own_forward = not type(layer).forward.__module__.startswith("torch.nn.modules")
    if own_forward and layer.bias is None:
        return False  # it may not know of a bias
    if not wiring.alone(stream) or not is_layer or wiring[stream].pinned.any():
        return False
    add_to_bias(layer, shift)
    return True


def add_to_bias(layer: Any, shift: Tensor) -> None:
    """Give a layer another bias, by ``shift``, ``(out,)``, more than it has, if any."""
    like = layer.weight if layer.bias is None else layer.bias
    before = 0 if layer.bias is None else layer.bias.detach()
    layer.bias = nn.Parameter(before + shift.to(like), requires_grad=like.requires_grad)


def fold_constants(wiring: Wiring, known: Constants, wanted: Live) -> None:
    """Take constants that need not be read into the readers' biases, and zero their weights, which become others."""
    for node, _ in wiring.readers():
        source, layer = node.all_input_nodes[0], wiring.module(node)
        if source not in known or not wiring.alone(node):
            continue
        reads = wiring.reads(node)
        groups = reads.shape[0]
        needed = read_channels(wiring, node, wanted[node], known).view(groups, -1)
        fold = any_along(reads, 1) & known[source].known.view(groups, -1) & ~needed
        if not fold.any():
            continue
        value = known[source].value.view(groups, -1).where(fold, 0)
        shift = emitted(layer, value).where(wanted[node], 0)
        if shift.any():
            add_to_bias(layer, shift)
        _zero_inputs(layer, fold)


def _zero_inputs(layer: Any, inputs: Tensor) -> None:
    """Zero what a reader makes of some input channels, ``(groups, in / groups)``."""
    weight, inputs = layer.weight.detach().clone(), inputs.to(layer.weight.device)
    if isinstance(layer, _ConvTransposeNd):
        weight[inputs.flatten()] = 0
    elif isinstance(layer, nn.Linear):
        weight[:, inputs[0]] = 0
    else:
        mask = inputs.repeat_interleave(len(weight) // len(inputs), 0)
        weight[mask] = 0
    layer.weight = nn.Parameter(weight, requires_grad=layer.weight.requires_grad)
