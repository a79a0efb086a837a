"""The wires of a whole graph, node by node."""

import operator
from collections.abc import Collection
from typing import Any

from torch import Tensor, fx, nn

from lomt.channels.functions import function_wire
from lomt.channels.layers import layer_wire
from lomt.channels.wire import Wire, Wiring
from lomt.tracing.proxies import expect
from lomt.tracing.trace import shape_of

_HARMLESS_ATTRIBUTES = {"ndim", "dtype", "device", "requires_grad", "is_cuda"}
_HARMLESS_METHODS = {"dim", "ndimension", "is_floating_point", "get_device"}


def wire_graph(root: nn.Module, graph: fx.Graph, before: Wiring | None = None) -> Wiring:
    """Find out for every value of a traced graph which of its channels can be told apart, and where they come from.

    ``before`` is what was found of the graph before it was changed, for speed.
    """
    wiring = Wiring(root, graph, None if before is None else before.seen)
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
    """Checks of sizes, other dimensions' sizes, and a split along channels, whose parts have wires of their own."""
    if _only_checked(node):
        wiring.present.update(n for n in node.all_input_nodes if n in wiring)
        return True
    if node.op not in ("call_function", "call_method") or not isinstance(node.args[0], fx.Node):
        return False
    source = node.args[0]
    if source not in wiring:
        return all(n not in wiring for n in node.all_input_nodes)
    if node.target in ("chunk", "split", "tensor_split") or getattr(node.target, "__name__", "") in ("chunk", "split"):
        return all(user.target is operator.getitem and isinstance(user.args[1], int) for user in node.users)
    wiring.present.add(source)
    return _other_sizes(wiring, node, source, [user for user in node.users if not _only_checked(user)])


def _only_checked(node: fx.Node) -> bool:
    """Whether a size goes into checks only: the number of channels decided for good when the network was made."""
    if node.target is expect:
        return True
    number = not isinstance(node.meta.get("value"), Tensor)
    return number and node.op != "output" and bool(node.users) and all(_only_checked(user) for user in node.users)


def drop_checks_of_channels(wiring: Wiring) -> None:
    """Remove checks that look at a number of channels, which may change now, in place."""
    for check in [node for node in wiring.graph.nodes if node.target is expect]:
        numbers = {check, *_numbers(check)}
        for number in numbers:
            source = next((n for n in number.all_input_nodes if n in wiring), None)
            if source is not None and not _other_sizes(wiring, number, source, numbers):
                wiring.graph.erase_node(check)
                break


def _other_sizes(wiring: Wiring, node: fx.Node, source: fx.Node, readers: Collection[fx.Node]) -> bool:
    """Whether these readers of ``source.shape`` or ``source.size(…)`` learn nothing of the number of channels."""
    rank, axis = len(shape_of(source) or ()), wiring[source].axis
    if node.target == "size" and len(node.args) > 1:
        return isinstance(node.args[1], int) and node.args[1] % rank != axis
    if node.target == "size" or (node.target is getattr and node.args[1] == "shape"):
        return all(_other_size(user, rank, axis) for user in node.users if user in readers)
    return (node.target is getattr and node.args[1] in _HARMLESS_ATTRIBUTES) or node.target in _HARMLESS_METHODS


def _numbers(check: fx.Node) -> list[fx.Node]:
    """The nodes that a check is computed of, back to the tensors."""
    found: list[fx.Node] = []
    stack = [check]
    while stack:
        for source in stack.pop().all_input_nodes:
            if not isinstance(source.meta.get("value"), Tensor) and source not in found:
                found.append(source)
                stack.append(source)
    return found


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
    shared = wiring.shared
    shared.update(name for names in owners.values() if len(names) > 1 for name in names)
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
