"""Convolutions with a forward of their own: seen through if all they do is to convolve with their weight."""

import operator
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import fx
from torch.fx.proxy import TraceError
from torch.nn.modules.conv import _ConvNd

from lomt.tracing.tracer import Tracer

_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)


class _Inside(Tracer):
    """Does not stop at the convolution itself."""

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        del m, module_qualified_name
        return False


def is_convolution(layer: _ConvNd, shape: Sequence[int]) -> bool:
    """Whether a subclass of ``nn.Conv2d`` gives the convolution of its input with its own weight and bias.

    It may choose dilation, padding and the part of the kernel as it likes, by the size of the input.

    Args:
        layer: the subclass; its forward is traced.
        shape: an input's.
    """
    weight = layer.weight
    example = torch.zeros(tuple(shape), dtype=weight.dtype, device=weight.device)
    try:
        graph = _Inside([example]).trace(layer)
    except (TraceError, ValueError, TypeError, RuntimeError, AttributeError):
        return False
    result = graph.output_node().args[0]
    if not isinstance(result, fx.Node) or result.target not in _CONVOLUTIONS or len(result.args) < 3:
        return False
    image, kernel, bias, *rest = result.args
    groups = rest[3] if len(rest) > 3 else result.kwargs.get("groups", 1)
    reads_image: bool = isinstance(image, fx.Node) and image.op == "placeholder"
    own_bias: bool = bias is None and layer.bias is None
    own_bias = own_bias or (isinstance(bias, fx.Node) and bias.op == "get_attr" and bias.target == "bias")
    return bool(reads_image and own_bias and groups == layer.groups and _is_part_of_weight(kernel))


def _is_part_of_weight(kernel: object) -> bool:
    """The weight, or some rows and columns of its kernel."""
    while isinstance(kernel, fx.Node) and kernel.target is operator.getitem:
        index = kernel.args[1]
        if not isinstance(index, tuple) or index[:2] != (slice(None), slice(None)):
            return False
        kernel = kernel.args[0]
    return isinstance(kernel, fx.Node) and kernel.op == "get_attr" and kernel.target == "weight"
