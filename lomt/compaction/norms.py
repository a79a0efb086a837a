"""Norm folding: a convolution and the batch norm behind it as one convolution, for inference."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.fusion import fuse_conv_bn_weights

from lomt.compaction.agreement import verify
from lomt.compaction.aliasing import AliasError, make_writes_visible, remove_dead_code
from lomt.compaction.graph import dress, own, plain_trace
from lomt.compaction.module import Compacted
from lomt.models.deeplab import AtrousConv
from lomt.tracing.copying import shadow
from lomt.tracing.trace import Example


def fold_norms(module: nn.Module, example: Example) -> Compacted:
    """A module in eval mode whose batch norms are part of the layers before them, as far as these have no other reader.

    The outputs are the same up to rounding. Not for training: statistics are fixed.

    Args:
        module: any traceable module, compacted or not; stays as it is.
        example: one input.

    Raises:
        UntraceableError: as :func:`lomt.compaction.compact`.
    """
    traced = plain_trace(module, example)
    small = Compacted(traced.root, traced.graph)
    try:
        make_writes_visible(small.graph, small)
    except AliasError:
        return dress(own(small, module), module).eval()
    remove_dead_code(small.graph)
    small = dress(own(folded(small), module), module).eval()
    verify(small, traced.output, example)
    return small


def folded(graph: Compacted) -> Compacted:
    """The same with norms folded into the layers before them; layers without a norm are shared."""
    small = Compacted(graph, copy.deepcopy(graph.graph))
    nodes = [node for node in small.graph.nodes if node.op == "call_module"]
    calls = Counter(str(node.target) for node in nodes)
    for norm in nodes:
        layer = norm.all_input_nodes[0]
        once = calls[str(layer.target)] == calls[str(norm.target)] == 1
        if once and _fold(small, layer, norm):
            norm.replace_all_uses_with(layer)
            small.graph.erase_node(norm)
    return Compacted(small, small.graph)


@torch.no_grad()
def _fold(root: nn.Module, layer: fx.Node, norm: fx.Node) -> bool:
    """Fold one norm into the layer that it reads, in place; whether it could be done."""
    second = root.get_submodule(str(norm.target))
    if layer.op != "call_module" or len(layer.users) != 1 or not isinstance(second, _BatchNorm):
        return False
    first: Any = root.get_submodule(str(layer.target))
    if second.running_mean is None or second.running_var is None or first._forward_hooks or second._forward_hooks:
        return False
    transposed = isinstance(first, _ConvTransposeNd)
    if isinstance(first, _ConvNd) and "weight" in first._parameters:
        if transposed and first.groups > 1:
            return False
        if first.bias is None and not _knows_of_a_bias(first):
            return False
    elif not (type(first) is nn.Linear and isinstance(second, nn.BatchNorm1d)):
        return False
    statistics = (second.running_mean, second.running_var, second.eps, second.weight, second.bias)
    fused = shadow(first)
    fused.weight, fused.bias = fuse_conv_bn_weights(first.weight, first.bias, *statistics, transposed)
    path, _, name = str(layer.target).rpartition(".")
    setattr(root.get_submodule(path), name, fused)
    return True


def _knows_of_a_bias(layer: nn.Module) -> bool:
    """Whether the layer adds a bias once it has one."""
    forward = type(layer).forward
    return forward is AtrousConv.forward or forward.__module__ == "torch.nn.modules.conv"
