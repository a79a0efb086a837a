"""The wires of a whole graph, node by node."""

import operator
from typing import Any

from torch import fx, nn

from tailor.compaction.functions import function_wire
from tailor.compaction.layers import layer_wire
from tailor.compaction.trace import shape_of
from tailor.compaction.wire import Wire, Wiring

_HARMLESS_ATTRIBUTES = {"ndim", "dtype", "device", "requires_grad", "is_cuda"}
_HARMLESS_METHODS = {"dim", "ndimension", "is_floating_point", "get_device"}


def wire_graph(root: nn.Module, graph: fx.Graph) -> Wiring:
    """Find out for every value of a traced graph which of its channels can be told apart, and where they come from."""
    wiring = Wiring(root, graph)
    for node in graph.nodes:
        wire = _wire(wiring, node)
        if wire is not None:
            wiring.wires[node] = wire
        elif not _reads_no_channel(wiring, node):
            for source in node.all_input_nodes:
                wiring.pin(source)
    _pin_shared_layers(wiring)
    return wiring


def _wire(wiring: Wiring, node: fx.Node) -> Wire | None:
    if node.op == "call_module":
        return layer_wire(wiring, node)
    if node.op in ("call_function", "call_method"):
        return function_wire(wiring, node)
    return None


def _reads_no_channel(wiring: Wiring, node: fx.Node) -> bool:
    """Sizes of other dimensions, and the parts of a split along channels, which have wires of their own."""
    if node.op not in ("call_function", "call_method") or not isinstance(node.args[0], fx.Node):
        return False
    source = node.args[0]
    if source not in wiring:
        return all(n not in wiring for n in node.all_input_nodes)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if name in _HARMLESS_METHODS or (node.target is getattr and node.args[1] in _HARMLESS_ATTRIBUTES):
        wiring.present.add(source)
        return True
    rank, axis = len(shape_of(source) or ()), wiring[source].axis
    if name == "size" and len(node.args) > 1:
        wiring.present.add(source)
        return isinstance(node.args[1], int) and node.args[1] % rank != axis
    if name == "size" or (node.target is getattr and node.args[1] == "shape"):
        wiring.present.add(source)
        return all(_other_size(user, rank, axis) for user in node.users)
    if name in ("chunk", "split", "tensor_split"):
        return all(user.target is operator.getitem and isinstance(user.args[1], int) for user in node.users)
    return False


def _other_size(user: fx.Node, rank: int, axis: int) -> bool:
    """Whether ``user`` takes a size, or a run of sizes, other than the number of channels."""
    if user.target is not operator.getitem:
        return False
    index: Any = user.args[1]
    if isinstance(index, int):
        return index % rank != axis
    return isinstance(index, slice) and axis not in range(rank)[index]


def _pin_shared_layers(wiring: Wiring) -> None:
    """Leave layers alone that share a tensor with another layer: a slice would have to suit both."""
    owners: dict[int, set[str]] = {}
    for name, layer in wiring.root.named_modules():
        for parameter in layer._parameters.values():
            if parameter is not None:
                owners.setdefault(id(parameter), set()).add(name)
    shared = {name for names in owners.values() if len(names) > 1 for name in names}
    calls: dict[str, list[fx.Node]] = {}
    for node in wiring.graph.nodes:
        if node.op == "get_attr":
            shared.add(str(node.target).rpartition(".")[0] or "itself")
        if wiring.has_widths(node):
            calls.setdefault(str(node.target), []).append(node)
    for name, same in calls.items():
        sources = [node.all_input_nodes[0] for node in same if node.op == "call_module"]
        if (name in shared and sources) or not _alike(wiring, same) or (sources and not _alike(wiring, sources)):
            for node in same + sources:
                wiring.pin(node)


def _alike(wiring: Wiring, nodes: list[fx.Node]) -> bool:
    """Whether channels of all these values, or of none, can be told apart, along the same axis."""
    return len({wiring[node].axis if node in wiring else None for node in nodes}) == 1
