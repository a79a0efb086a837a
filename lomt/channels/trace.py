"""A module as a graph of operations, with the shape of every value."""

import copy
import inspect
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from lomt.channels.tracer import Tracer

Example = Tensor | Sequence[Any]


class UntraceableError(ValueError):
    """Python code of the module depends on the values of tensors, so that no graph stands for it.

    Attributes:
        culprit: the innermost module where that was seen, by name and class.
    """

    def __init__(self, message: str, culprit: str) -> None:
        super().__init__(message)
        self.culprit = culprit


class Traced(NamedTuple):
    """What :func:`trace` gives: a private copy of the module in eval mode, and its graph.

    Every node carries ``meta["value"]``: its value for the example on the ``meta`` device where that is a tensor,
    else the Python value. ``only_eval`` names the module whose forward does other operations in training, where there
    is one: the graph has those of eval mode alone.
    """

    root: nn.Module
    graph: fx.Graph
    output: Any
    only_eval: str | None


def example_arguments(example: Example) -> tuple[Any, ...]:
    """The positional arguments that ``example`` stands for: itself, or each of its values."""
    if isinstance(example, Tensor):
        return (example,)
    if isinstance(example, Sequence) and not isinstance(example, str):
        return tuple(example)
    raise TypeError(f"the example is a {type(example).__name__}: give a tensor or a tuple of arguments")


def trace(module: nn.Module, example: Example, opaque: Sequence[str] = ()) -> Traced:
    """Trace a copy of ``module`` in eval mode and run it once on ``example``.

    Args:
        module: stays as it is.
        example: one input, ``(N, C, H, W)`` as a rule, or a tuple of the positional arguments of ``forward``.
        opaque: names of submodules that are not looked into.

    Raises:
        UntraceableError: the module's Python code branches on values; the message names the innermost module.
        ValueError: the module does not run on the example.
    """
    arguments = example_arguments(example)
    root = copy.deepcopy(module).eval()
    graph = _graph(root, arguments, opaque)
    only_eval = _follow_training_flag(graph, root, arguments, opaque)
    _by_position(graph, root)
    run = _Recorder(root, graph)
    with torch.no_grad():
        try:
            output = run.run(*arguments)
        except Exception as error:
            where = "" if run.at is None else f" at {run.at.target!s} ({run.at.op})"
            shapes = [tuple(a.shape) if isinstance(a, Tensor) else a for a in arguments]
            raise ValueError(
                f"{type(module).__name__} does not run on an example of shape {shapes}{where}: {error}; "
                "give an input as the module expects it"
            ) from error
    return Traced(root, graph, output, only_eval)


def _graph(root: nn.Module, arguments: Sequence[Any], opaque: Sequence[str]) -> fx.Graph:
    tracer = Tracer(arguments, opaque)
    try:
        graph = tracer.trace(root)
    except Exception as error:
        culprit = tracer.failed or type(root).__name__
        advice = f"name it in opaque=[{culprit.split(' ')[0]}] to leave it as it is" if tracer.failed else ""
        raise UntraceableError(
            f"can't trace {culprit}: {str(error).splitlines()[0]}; "
            f"{advice or 'its forward must not branch on the values of tensors'}",
            culprit,
        ) from error
    return graph


def _by_position(graph: fx.Graph, root: nn.Module) -> None:
    """Give tensors that were passed by keyword by position, in place, so that everybody finds them there."""
    for node in graph.nodes:
        if node.args or not node.kwargs:
            continue
        first = next(iter(node.kwargs))
        if node.op == "call_module":
            first = next(iter(inspect.signature(root.get_submodule(str(node.target)).forward).parameters))
        elif node.op == "call_function":
            first = next((name for name in ("input", "tensors", "self") if name in node.kwargs), first)
        if first in node.kwargs:
            node.args = (node.kwargs[first],)
            node.kwargs = {name: value for name, value in node.kwargs.items() if name != first}


def _follow_training_flag(
    graph: fx.Graph, root: nn.Module, arguments: Sequence[Any], opaque: Sequence[str]
) -> str | None:
    """Let arguments that were ``self.training`` (functional dropout's) follow the flag again, not its value in eval.

    Where a forward does other operations in training, that can't be, and the module is returned by its name.
    """
    try:
        training = _graph(copy.deepcopy(root).train(), arguments, opaque)
    except UntraceableError as error:
        return error.culprit
    pairs = list(zip(graph.nodes, training.nodes, strict=False))
    if len(graph.nodes) != len(training.nodes) or any(a.target != b.target for a, b in pairs):
        other = next((b for a, b in pairs if a.target != b.target), training.output_node())
        return _innermost(other) or type(root).__name__
    flag: fx.Node | None = None
    for node, other in pairs:
        if not any(map(operator.is_not, *_flags(node, other))):
            continue
        if flag is None:
            with graph.inserting_before(next(iter(graph.nodes))):
                flag = graph.create_node("get_attr", "training")
        node.args = tuple(flag if (a, b) == (False, True) else a for a, b in zip(node.args, other.args, strict=True))
        node.kwargs = {k: flag if (a, other.kwargs[k]) == (False, True) else a for k, a in node.kwargs.items()}
    return None


def _innermost(node: fx.Node) -> str | None:
    """The module in whose forward a node was traced, by name and class."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return f"{stack[-1][0]!r} ({stack[-1][1].__name__})" if stack else None


def _flags(node: fx.Node, other: fx.Node) -> tuple[list[bool], list[bool]]:
    """The boolean arguments of both nodes, in order."""
    if len(node.args) != len(other.args) or node.kwargs.keys() != other.kwargs.keys():
        return [], []
    pairs = [*zip(node.args, other.args, strict=True)]
    pairs += [(node.kwargs[k], other.kwargs[k]) for k in node.kwargs]
    both = [(a, b) for a, b in pairs if isinstance(a, bool) and isinstance(b, bool)]
    return [a for a, _ in both], [b for _, b in both]


class _Recorder(fx.Interpreter):
    """Runs the graph; notes of every value shape and dtype, which inputs share its memory, which were overwritten."""

    def __init__(self, root: nn.Module, graph: fx.Graph) -> None:
        super().__init__(root, graph=graph)
        self.at: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        self.at = n
        inputs = {source: self.env[source] for source in n.all_input_nodes if isinstance(self.env[source], Tensor)}
        versions = {source: tensor._version for source, tensor in inputs.items()}
        value = super().run_node(n)
        memory = {tensor.untyped_storage().data_ptr() for tensor in _tensors(value)} - {0}
        n.meta["value"] = _without_storage(value)
        n.meta["shares"] = [s for s, tensor in inputs.items() if tensor.untyped_storage().data_ptr() in memory]
        n.meta["overwrites"] = [s for s, tensor in inputs.items() if tensor._version != versions[s]]
        return value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in _tensors(item)]


def _without_storage(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty(value.shape, dtype=value.dtype, device="meta")
    if isinstance(value, torch.Size):
        return value
    if isinstance(value, list | tuple):
        return tuple(_without_storage(v) for v in value)
    if isinstance(value, Mapping):
        return {k: _without_storage(v) for k, v in value.items()}
    return value


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    """The shape of a node's value for the example; None where it is no tensor."""
    value = node.meta.get("value")
    return tuple(value.shape) if isinstance(value, Tensor) else None
