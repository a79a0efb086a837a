"""Dead branches: an operand that is constant in every channel that matters becomes a bias, or nothing."""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lomt.channels.functions import function_name
from lomt.channels.wire import Kind, Wiring
from lomt.compaction.constants import Constants
from lomt.compaction.demand import Demand
from lomt.compaction.inplace import remove_dead_code
from lomt.tracing.trace import shape_of

_OUT_OF_PLACE = {operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul}
_SUMS = {"add", "iadd", "sub", "isub"}


def cut_dead_branch(wiring: Wiring, known: Constants, wanted: Demand) -> bool:
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
        tensor = wiring.graph.get_attr(_hang(wiring.root, branch.name, constant))
    tensor.meta["value"] = torch.empty(shape, dtype=constant.dtype, device="meta")
    node.replace_input_with(branch, tensor)
    if node.target in _OUT_OF_PLACE:
        node.target = _OUT_OF_PLACE[node.target]
    elif node.op == "call_method":
        node.target = str(node.target).removesuffix("_")


def _hang(root: nn.Module, name: str, value: nn.Parameter) -> str:
    """Register a parameter under a new name below ``constants``."""
    if "constants" not in root._modules:
        root.add_module("constants", nn.Module())
    holder = root.get_submodule("constants")
    while hasattr(holder, name):
        name += "_"
    holder.register_parameter(name, value)
    return f"constants.{name}"


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
