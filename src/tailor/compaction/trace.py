"""A module as a graph of operations, with the shape of every value."""

import copy
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from tailor.compaction.tracer import Tracer

Example = Tensor | Sequence[Any]


class UntraceableError(ValueError):
    """Python code of the module depends on the values of tensors, so that no graph stands for it."""


class Traced(NamedTuple):
    """What :func:`trace` gives: a private copy of the module in eval mode, and its graph.

    Every node carries ``meta["value"]``: its value for the example on the ``meta`` device where that is a tensor,
    else the Python value.
    """

    root: nn.Module
    graph: fx.Graph
    output: Any


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
    _follow_training_flag(graph, root, arguments, opaque)
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
    return Traced(root, graph, output)


def _graph(root: nn.Module, arguments: Sequence[Any], opaque: Sequence[str]) -> fx.Graph:
    tracer = Tracer(arguments, opaque)
    try:
        graph = tracer.trace(root)
    except Exception as error:
        culprit = tracer.failed or type(root).__name__
        advice = f"name it in opaque=[{culprit.split(' ')[0]}] to leave it as it is" if tracer.failed else ""
        raise UntraceableError(
            f"can't trace {culprit}: {str(error).splitlines()[0]}; "
            f"{advice or 'its forward must not branch on the values of tensors'}"
        ) from error
    return graph


def _follow_training_flag(graph: fx.Graph, root: nn.Module, arguments: Sequence[Any], opaque: Sequence[str]) -> None:
    """Let arguments that were ``self.training`` (functional dropout's) follow the flag again, not its value in eval."""
    training = _graph(copy.deepcopy(root).train(), arguments, opaque)
    pairs = list(zip(graph.nodes, training.nodes, strict=False))
    if len(graph.nodes) != len(training.nodes) or any(a.target != b.target for a, b in pairs):
        return  # the module does other things in training; the graph keeps to what it does in eval
    flag: fx.Node | None = None
    for node, other in pairs:
        if not any(map(operator.is_not, *_flags(node, other))):
            continue
        if flag is None:
            with graph.inserting_before(next(iter(graph.nodes))):
                flag = graph.create_node("get_attr", "training")
        node.args = tuple(flag if (a, b) == (False, True) else a for a, b in zip(node.args, other.args, strict=True))
        node.kwargs = {k: flag if (a, other.kwargs[k]) == (False, True) else a for k, a in node.kwargs.items()}


def _flags(node: fx.Node, other: fx.Node) -> tuple[list[bool], list[bool]]:
    """The boolean arguments of both nodes, in order."""
    if len(node.args) != len(other.args) or node.kwargs.keys() != other.kwargs.keys():
        return [], []
    pairs = [*zip(node.args, other.args, strict=True)]
    pairs += [(node.kwargs[k], other.kwargs[k]) for k in node.kwargs]
    both = [(a, b) for a, b in pairs if isinstance(a, bool) and isinstance(b, bool)]
    return [a for a, _ in both], [b for _, b in both]


class _Recorder(fx.Interpreter):
    """Runs the graph and notes the shape and dtype of every value, not the value itself."""

    def __init__(self, root: nn.Module, graph: fx.Graph) -> None:
        super().__init__(root, graph=graph)
        self.at: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        self.at = n
        value = super().run_node(n)
        n.meta["value"] = _without_storage(value)
        return value


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
