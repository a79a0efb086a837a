"""Writing in place, made visible: whoever reads a tensor after it was overwritten becomes a user of the write."""

import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from lomt.tracing.proxies import assign, expect

_OPERATORS = {
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
    operator.ifloordiv,
    operator.ipow,
    operator.iand,
    operator.ior,
}
_VIEWS = {
    *("view", "reshape", "flatten", "permute", "transpose", "squeeze", "unsqueeze", "chunk", "split", "narrow"),
    *("expand", "contiguous", "detach", "to", "float", "double", "half", "unflatten", "swapaxes", "movedim", "select"),
    *("unbind", "dropout", "dropout2d", "getitem", "type", "expand_as", "view_as", "unfold", "diagonal", "T"),
}
_NUMBERS = int | float | torch.Size
"""Values that no tensor shares memory with: sizes, which a view is given, too."""
_VIEW_MODULES = nn.Identity | nn.Flatten | nn.Unflatten | nn.Dropout | nn.Dropout2d | nn.Dropout3d | nn.AlphaDropout


class AliasError(ValueError):
    """The module writes into a view of a tensor that is read later, so that the graph does not say who reads what."""


def make_writes_visible(graph: fx.Graph, root: nn.Module) -> None:
    """Redirect later readers of an overwritten tensor to the operation that overwrote it, in place.

    Raises:
        AliasError: a view is written, or what a view shows, and the other one is read afterwards.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    latest: dict[fx.Node, fx.Node] = {}
    for node in list(graph.nodes):
        overwrites = [latest.get(other, other) for other in node.meta.get("overwrites", [])]
        if not (writes(node, root) or overwrites) or not isinstance(node.args[0], fx.Node):
            continue
        written = node.args[0]
        if any(other is not written for other in overwrites):
            raise AliasError(f"{node.name} overwrites {overwrites[-1].name}")
        for alias in _family(written, node, root):  # one that is made later is made of what was written
            if order[alias] < order[node] and any(order[user] > order[node] for user in alias.users):
                raise AliasError(f"{node.name} overwrites {written.name} and {alias.name} at once")
        for user in [user for user in written.users if order[user] > order[node]]:
            user.replace_input_with(written, node)
        latest |= dict.fromkeys((written, *(f for f, last in latest.items() if last is written)), node)


def _family(written: fx.Node, write: fx.Node, root: nn.Module) -> set[fx.Node]:
    """All other nodes that may share memory with ``written``."""
    family, stack = {written, write}, [written]
    while stack:
        node = stack.pop()
        near = [user for user in node.users if _is_view(user, node, root)]
        near += [source for source in node.all_input_nodes if _is_view(node, source, root)]
        near = [other for other in near if not isinstance(other.meta.get("value"), _NUMBERS)]
        stack += [other for other in near if other not in family]
        family.update(near)
    return family - {written, write}


def _is_view(node: fx.Node, source: fx.Node, root: nn.Module) -> bool:
    """Whether ``node`` may share memory with its input: it did for the example, or its name says that it can."""
    if source in node.meta.get("shares", []):
        return True
    if node.op == "call_module":
        return isinstance(root.get_submodule(str(node.target)), _VIEW_MODULES) or writes(node, root)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if node.op not in ("call_function", "call_method"):
        return False
    return name in _VIEWS or (source is node.args[0] and writes(node, root))


def writes(node: fx.Node, root: nn.Module) -> bool:
    """Whether the operation overwrites its first argument."""
    if node.op == "call_module":
        return bool(getattr(root.get_submodule(str(node.target)), "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    if node.op != "call_function" or not callable(node.target):
        return False
    name = getattr(node.target, "__name__", "")
    if node.target is assign:
        return True
    return node.target in _OPERATORS or _inplace_argument(node.target, node) or (name[-1:] == "_" != name[-2:-1])


def _inplace_argument(function: Callable[..., Any], node: fx.Node) -> bool:
    if "inplace" in node.kwargs:
        return bool(node.kwargs["inplace"])
    if getattr(F, getattr(function, "__name__", ""), None) is not function:
        return False
    try:
        position = list(inspect.signature(function).parameters).index("inplace")
    except ValueError:
        return False
    return len(node.args) > position and bool(node.args[position])


def remove_dead_code(graph: fx.Graph) -> None:
    """Drop what nobody reads. Only after :func:`make_writes_visible` is every effect an argument of somebody.

    A check of sizes stays as long as the tensors stay whose sizes it checks.
    """
    alive = _ancestors([node for node in graph.nodes if node.op in ("output", "placeholder")])
    for node in graph.nodes:
        if node.target is expect and all(tensor in alive for tensor in _measured(node)):
            alive |= _ancestors([node])
    for node in reversed(list(graph.nodes)):
        if node not in alive:
            graph.erase_node(node)


def _ancestors(nodes: list[fx.Node]) -> set[fx.Node]:
    found, stack = set(nodes), list(nodes)
    while stack:
        new = [source for source in stack.pop().all_input_nodes if source not in found]
        found.update(new)
        stack += new
    return found


def _measured(check: fx.Node) -> set[fx.Node]:
    """The tensors whose sizes a check looks at."""
    found, stack = set(), [check]
    while stack:
        for source in stack.pop().all_input_nodes:
            if isinstance(source.meta.get("value"), Tensor):
                found.add(source)
            else:
                stack.append(source)
    return found
