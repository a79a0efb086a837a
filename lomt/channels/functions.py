"""Which functions and tensor methods work within channels."""

import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from lomt.channels import reshaping
from lomt.channels.wire import Kind, Wire, Wiring
from lomt.tracing.trace import shape_of

# Total functions only: a channel that nobody reads may hold any finite value, and must not turn into inf or NaN.
_UNARY = {
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "tanh", "hardtanh"),
    *("hardswish", "hardsigmoid", "softplus", "softsign", "logsigmoid", "tanhshrink", "hardshrink", "softshrink"),
    *("clamp", "clip", "clamp_min", "clamp_max", "abs", "neg", "square", "sin", "cos", "erf", "threshold", "positive"),
    *("float", "double", "half", "bfloat16", "contiguous", "clone", "detach"),
}
_BINARY = {"add", "sub", "mul", "iadd", "isub", "imul", "maximum", "minimum", "rsub", "multiply", "subtract"}
_QUOTIENTS = {"div", "truediv", "itruediv", "divide", "true_divide"}
_SAME = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "interpolate", "upsample"}
_POOLS = {
    *("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"),
    *("adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d"),
}
_REDUCTIONS = {"mean": Kind.SPATIAL, "amax": Kind.SPATIAL, "amin": Kind.SPATIAL, "sum": Kind.PADDED}
_HOMES = (torch, F, operator, torch._C._nn, Tensor)


def function_wire(wiring: Wiring, node: fx.Node) -> Wire | None:
    """The wire of a function or method call; None where it must be taken to read everything."""
    name = function_name(node)
    if name is None or shape_of(node) is None:
        return None
    arguments = node.args
    source = arguments[0] if arguments else None
    if name in _UNARY | _BINARY | _QUOTIENTS | {"to", "pow"}:
        return pointwise(wiring, node) if _is_total(name, arguments) else None
    if name in ("cat", "concat", "concatenate"):
        return _call(reshaping.concatenate, wiring, node)
    if not isinstance(source, fx.Node):
        return None
    if name in _MOVES:
        return _call(_MOVES[name], wiring, node)
    if source not in wiring:
        return None
    if name in _REDUCTIONS:
        return _call(_reduction, wiring, node)
    if name == "pad":
        return _call(_pad, wiring, node)
    return _spatial(wiring, node, name, source)


def _call(handler: Callable[..., Wire | None], wiring: Wiring, node: fx.Node) -> Wire | None:
    """Give the handler the node's own arguments; a call with other ones than it knows stays unknown."""
    try:
        bound = inspect.signature(handler).bind(wiring, node, *node.args, **node.kwargs)
    except TypeError:
        return None
    return handler(*bound.args, **bound.kwargs)


def function_name(node: fx.Node) -> str | None:
    """``add`` for ``operator.add``, ``torch.add``, ``x.add`` and ``x.add_`` alike; None for functions not of torch."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    known = node.op == "call_method" or any(getattr(home, name, None) is node.target for home in _HOMES)
    return name.removesuffix("_") if known else None


def _is_total(name: str, arguments: Sequence[Any]) -> bool:
    """Whether the function is finite wherever its tensors are."""
    others = arguments[1:]
    if name == "to":
        return not any(isinstance(a, fx.Node) and shape_of(a) is not None for a in others)
    if name in _QUOTIENTS:
        return len(others) == 1 and isinstance(others[0], int | float) and others[0] != 0
    if name == "pow":
        return isinstance(arguments[0], fx.Node) and isinstance(others[0], int) and others[0] > 0
    return True


def pointwise(wiring: Wiring, node: fx.Node) -> Wire | None:
    """Operands broadcast against each other, aligned at the last dimension."""
    shape = shape_of(node) or ()
    operands = [n for n in dict.fromkeys(node.all_input_nodes) if shape_of(n) is not None]
    places = {wiring[n].axis - len(shape_of(n) or ()) for n in operands if n in wiring}
    if len(places) != 1:
        return None
    place = places.pop()
    axis = place + len(shape)
    wire = Wire(Kind.POINTWISE, axis, shape[axis])
    for operand in operands:
        size = shape_of(operand) or ()
        if len(size) < -place or size[place] != wire.channels:
            wiring.pin(operand)  # one value for all channels
            continue
        if operand.op == "get_attr" and operand not in wiring:
            wiring.wires[operand] = Wire(Kind.TENSOR, place + len(size), wire.channels)
        if operand in wiring:
            wire.links.append((operand, torch.arange(wire.channels)))
        else:
            wire.pinned[:] = True
    return wire


def _reduction(wiring: Wiring, node: fx.Node, source: fx.Node, dim: Any = None, keepdim: bool = False) -> Wire | None:
    dims = [dim] if isinstance(dim, int) else dim
    if not isinstance(dims, list | tuple) or not all(isinstance(d, int) for d in dims):
        return None
    kind = _REDUCTIONS[function_name(node) or ""]
    rank, axis = len(shape_of(source) or ()), wiring[source].axis
    reduced = {d % rank for d in dims}
    if axis in reduced or not reduced:
        return None
    return wiring.through(node, source, kind, axis if keepdim else axis - sum(d < axis for d in reduced))


def _pad(
    wiring: Wiring, node: fx.Node, source: fx.Node, pad: Any, mode: str = "constant", value: float | None = None
) -> Wire | None:
    rank, axis = len(shape_of(source) or ()), wiring[source].axis
    if not isinstance(pad, list | tuple) or len(pad) // 2 >= rank - axis:
        return None
    kind = Kind.SPATIAL if mode != "constant" else Kind.OWN if value else Kind.PADDED
    return wiring.through(node, source, kind)


def _spatial(wiring: Wiring, node: fx.Node, name: str, source: fx.Node) -> Wire | None:
    if len(node.all_input_nodes) > 1 and any(shape_of(n) is not None for n in node.all_input_nodes[1:]):
        return None
    if name in _SAME:
        return wiring.through(node, source, Kind.SPATIAL) if wiring[source].axis == 1 or "drop" in name else None
    if wiring[source].axis != 1 or len(shape_of(source) or ()) != len(shape_of(node) or ()):
        return None
    if name in _POOLS:
        return wiring.through(node, source, Kind.SPATIAL)
    if name in ("avg_pool1d", "avg_pool2d", "avg_pool3d"):
        return wiring.through(node, source, Kind.PADDED)
    return None


_MOVES: dict[str, Callable[..., Wire | None]] = {
    "flatten": reshaping.flatten,
    "view": reshaping.reshape,
    "reshape": reshaping.reshape,
    "permute": reshaping.permute,
    "transpose": reshaping.transpose,
    "swapaxes": reshaping.transpose,
    "squeeze": reshaping.squeeze,
    "unsqueeze": reshaping.unsqueeze,
    "expand": reshaping.expand,
    "index_select": reshaping.index_select,
    "getitem": reshaping.pick,
}
