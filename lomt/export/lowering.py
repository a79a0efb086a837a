"""Programs of ``torch.export`` in the operators that the ONNX exporter translates."""

import operator
from typing import Any

import torch
from torch import fx

from lomt_kernels.conv.onnx import decomposed

_ATEN = torch.ops.aten
_TRANSLATED = {
    *(_ATEN.conv2d.default, _ATEN.linear.default, _ATEN.relu.default, _ATEN.sigmoid.default, _ATEN.silu.default),
    *(_ATEN.max_pool2d.default, _ATEN.avg_pool2d.default, _ATEN.mean.dim, _ATEN.upsample_bilinear2d.vec),
    *(_ATEN.add.Tensor, _ATEN.sub.Tensor, _ATEN.mul.Tensor, _ATEN.div.Tensor, _ATEN.cat.default, _ATEN.expand.default),
    *(_ATEN.slice.Tensor, _ATEN.index_select.default, _ATEN.narrow.default, _ATEN.flatten.using_ints),
    *(_ATEN.sym_size.int, operator.add, operator.sub, operator.mul, operator.floordiv),
}
"""Functions without side effects that the exporter translates as they are."""


def lowered(program: Any) -> Any:
    """A program without operations of lomt_kernels, which ONNX has not, and ready to be translated where it can be.

    The exporter decomposes a program by tracing it once more, operation by operation, with sizes that are free: two
    thirds of its time, in vain where nothing is to be decomposed. Such a program says so.
    """
    if any(str(node.target).startswith("lomt_kernels.") for node in program.graph.nodes):
        program = decomposed(program)
    graph: fx.Graph = program.graph
    for node in list(graph.nodes):
        if node.target is _ATEN.dropout.default and node.args[2] is False:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif node.target is _ATEN.adaptive_avg_pool2d.default and list(node.args[1]) == [1, 1]:
            node.target, node.args = _ATEN.mean.dim, (node.args[0], [-1, -2], True)
    if all(node.target in _TRANSLATED for node in graph.nodes if node.op == "call_function"):
        program.run_decompositions = lambda *_args, **_named: program
    return program
