"""Operations that move the channel axis, or channels along it."""

import math
import operator
from typing import Any

import torch
from torch import fx

from lomt.channels.wire import Kind, Wire, Wiring
from lomt.tracing.trace import shape_of


def flatten(wiring: Wiring, node: fx.Node, source: fx.Node, start_dim: int = 0, end_dim: int = -1) -> Wire | None:
    """Dimensions ``start_dim`` … ``end_dim`` become one; a channel becomes a run of neighbours where it comes first."""
    before = shape_of(source)
    if source not in wiring or before is None:
        return None
    wire = wiring[source]
    start, end = start_dim % len(before), end_dim % len(before)
    if not start <= wire.axis <= end:
        axis = wire.axis if wire.axis < start else wire.axis - (end - start)
        return wiring.through(node, source, Kind.MOVED, axis)
    if wire.axis != start:
        return None
    run = math.prod(before[start + 1 : end + 1])
    index = torch.arange(wire.channels).repeat_interleave(run)
    return Wire(Kind.MOVED, start, wire.channels * run, [(source, index)])


def reshape(wiring: Wiring, node: fx.Node, source: fx.Node, *sizes: Any) -> Wire | None:
    """``view(n, -1)``, ``view(-1, features)`` and their like, which flatten; they are rewritten as such."""
    if len(sizes) == 1 and isinstance(sizes[0], tuple | list):
        sizes = tuple(sizes[0])
    before, after = shape_of(source), shape_of(node)
    if source not in wiring or wiring[source].axis != 1 or before is None or after is None or len(sizes) != 2:
        return None
    batch, features = sizes
    same_batch = _is_size(batch, source, 0) or (batch == -1 and features == after[1])
    if not same_batch or after != (before[0], math.prod(before[1:])):
        return None
    wire = flatten(wiring, node, source, 1)
    if wire is not None:
        node.op, node.target, node.args, node.kwargs = "call_function", torch.flatten, (source, 1), {}
    return wire


def _is_size(value: Any, source: fx.Node, dim: int) -> bool:
    """Whether ``value`` is the node ``source.shape[dim]`` or ``source.size(dim)``."""
    if not isinstance(value, fx.Node):
        return False
    if value.target == "size":
        return value.args == (source, dim)
    if value.target is not operator.getitem or value.args[1] != dim:
        return False
    sizes = value.args[0]
    if not isinstance(sizes, fx.Node):
        return False
    return (sizes.target is getattr and sizes.args == (source, "shape")) or (
        sizes.target == "size" and sizes.args == (source,)
    )


def permute(wiring: Wiring, node: fx.Node, source: fx.Node, *order: Any) -> Wire | None:
    """``permute(0, 2, 3, 1)`` or ``permute((0, 2, 3, 1))``."""
    if len(order) == 1 and isinstance(order[0], tuple | list):
        order = tuple(order[0])
    if source not in wiring or not all(isinstance(d, int) for d in order):
        return None
    return wiring.through(node, source, Kind.MOVED, [d % len(order) for d in order].index(wiring[source].axis))


def transpose(wiring: Wiring, node: fx.Node, source: fx.Node, first: int, second: int) -> Wire | None:
    """Two dimensions change places."""
    rank = len(shape_of(source) or ())
    if source not in wiring:
        return None
    first, second = first % rank, second % rank
    axis = {first: second, second: first}.get(wiring[source].axis, wiring[source].axis)
    return wiring.through(node, source, Kind.MOVED, axis)


def squeeze(wiring: Wiring, node: fx.Node, source: fx.Node, *dims: Any) -> Wire | None:
    """Named dimensions of size 1 vanish; without names it depends on the input which ones."""
    before, after = shape_of(source), shape_of(node)
    if source not in wiring or len(dims) != 1 or not isinstance(dims[0], int) or before is None or after is None:
        return None
    dim, axis = dims[0] % len(before), wiring[source].axis
    if dim == axis or len(before) == len(after):
        return None
    return wiring.through(node, source, Kind.MOVED, axis - (dim < axis))


def unsqueeze(wiring: Wiring, node: fx.Node, source: fx.Node, dim: int) -> Wire | None:
    """A new dimension of size 1."""
    if source not in wiring:
        return None
    rank = len(shape_of(node) or ())
    return wiring.through(node, source, Kind.MOVED, wiring[source].axis + (dim % rank <= wiring[source].axis))


def index_select(wiring: Wiring, _: fx.Node, source: fx.Node, dim: int, index: Any) -> Wire | None:
    """Some channels, by a buffer of their numbers: what compaction itself puts before a reader."""
    if source not in wiring or dim != wiring[source].axis or not isinstance(index, fx.Node) or index.op != "get_attr":
        return None
    chosen = operator.attrgetter(str(index.target))(wiring.root).cpu()
    return Wire(Kind.GATHERED, dim, len(chosen), [(source, chosen)])


def expand(wiring: Wiring, node: fx.Node, source: fx.Node, *sizes: Any) -> Wire | None:
    """Dimensions of size 1 repeated; that of the channels is left (-1)."""
    if len(sizes) == 1 and isinstance(sizes[0], tuple | list):
        sizes = tuple(sizes[0])
    rank = len(shape_of(source) or ())
    if source not in wiring or len(sizes) < rank or sizes[wiring[source].axis - rank] != -1:
        return None
    return wiring.through(node, source, Kind.SPATIAL, wiring[source].axis + len(sizes) - rank)


def concatenate(wiring: Wiring, node: fx.Node, tensors: Any, dim: int = 0) -> Wire | None:
    """Channels side by side; along any other dimension, values of equal channels."""
    shape = shape_of(node)
    if shape is None or not isinstance(tensors, list | tuple) or not all(isinstance(t, fx.Node) for t in tensors):
        return None
    axes = {wiring[t].axis for t in tensors if t in wiring}
    dim %= len(shape)
    if len(axes) != 1:
        return None
    axis = axes.pop()
    if dim != axis:
        whole = all(t in wiring for t in tensors)
        links = [(t, torch.arange(shape[axis])) for t in tensors]
        return Wire(Kind.OWN, axis, shape[axis], links) if whole else None
    wire = Wire(Kind.MOVED, axis, shape[axis])
    start = 0
    for tensor in tensors:
        width = (shape_of(tensor) or ())[axis]
        if tensor in wiring and width:
            index = torch.full((wire.channels,), -1)
            index[start : start + width] = torch.arange(width)
            wire.links.append((tensor, index))
        else:
            wire.pinned[start : start + width] = True
        start += width
    return wire


def pick(wiring: Wiring, node: fx.Node, source: fx.Node, index: Any) -> Wire | None:
    """``x[:, 8:16]``, ``x[..., ::2, ::2]``, or one part of a ``chunk`` or ``split`` along channels."""
    if source in wiring:
        return _slice(wiring, node, source, index if isinstance(index, tuple) else (index,))
    if _name(source) not in ("chunk", "split", "tensor_split") or not isinstance(index, int):
        return None
    whole, parts = source.all_input_nodes[0], source.meta["value"]
    shape = shape_of(node)
    if whole not in wiring or shape is None:
        return None
    axis = wiring[whole].axis
    if split_dim(source) % len(shape) != axis:
        return wiring.through(node, whole, Kind.SPATIAL)
    index %= len(parts)
    start = sum(part.shape[axis] for part in parts[:index])
    return Wire(Kind.MOVED, axis, shape[axis], [(whole, torch.arange(start, start + shape[axis]))])


def split_dim(node: fx.Node) -> int:
    """The dimension that a ``chunk`` or ``split`` cuts."""
    dim = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    return dim if isinstance(dim, int) else 0


def _slice(wiring: Wiring, node: fx.Node, source: fx.Node, index: tuple[Any, ...]) -> Wire | None:
    rank, axis = len(shape_of(source) or ()), wiring[source].axis
    if Ellipsis in [i for i in index if not isinstance(i, fx.Node)]:
        at = index.index(Ellipsis)
        index = (*index[:at], *[slice(None)] * (rank - len(index) + 1), *index[at + 1 :])
    index = (*index, *[slice(None)] * (rank - len(index)))
    if len(index) != rank or not all(isinstance(i, slice) for i in index):
        return None
    taken = index[axis]
    if any(isinstance(bound, fx.Node) for bound in (taken.start, taken.stop, taken.step)):
        return None
    channels = torch.arange(wiring[source].channels)[taken] if (taken.step or 1) > 0 else None
    if channels is None or len(channels) == 0:
        return None
    if len(channels) == wiring[source].channels:
        return wiring.through(node, source, Kind.SPATIAL)
    others = [i for dim, i in enumerate(index) if dim != axis]
    if (taken.step or 1) != 1 or any(i != slice(None) for i in others):
        return None
    return Wire(Kind.MOVED, axis, len(channels), [(source, channels)])


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
