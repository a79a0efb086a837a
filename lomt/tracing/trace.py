"""A module as a graph of operations, with the shape of every value."""

import inspect
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from lomt.nested import tensors_in
from lomt.tracing.contexts import within
from lomt.tracing.copying import plain_copy
from lomt.tracing.once import computing, sharing
from lomt.tracing.operations import UntraceableError, follow_training_flag, operations

Example = Tensor | Sequence[Any]


class Traced(NamedTuple):
    """What :func:`trace` gives: a copy of the module in eval mode that shares its parameters, and its graph.

    Every node carries ``meta["value"]``: its value for the example on the ``meta`` device where that is a tensor,
    else the Python value. ``output`` is what the module itself gives. ``only_eval`` names the module whose forward does
    other operations in training, where there is one: the graph has those of eval mode alone. ``whole`` names modules
    that were not looked into, since they loop over a size of their input.
    """

    root: nn.Module
    graph: fx.Graph
    output: Any
    only_eval: str | None
    whole: tuple[str, ...] = ()


def example_arguments(example: Example) -> tuple[Any, ...]:
    """The positional arguments that ``example`` stands for: itself, or each of its values."""
    if isinstance(example, Tensor):
        return (example,)
    if isinstance(example, Sequence) and not isinstance(example, str):
        return tuple(example)
    raise TypeError(f"the example is a {type(example).__name__}: give a tensor or a tuple of arguments")


def trace(module: nn.Module, example: Example, opaque: Sequence[str] = (), *, inlines: bool = False) -> Traced:
    """Trace a copy of ``module`` in eval mode and run it once on ``example``.

    A submodule that loops over a size of its input stays a call, since a graph would fix the length.

    Args:
        module: stays as it is.
        example: one input, ``(N, C, H, W)`` as a rule, or a tuple of the positional arguments of ``forward``.
        opaque: names of submodules that are not looked into.
        inlines: look into a :class:`torch.autograd.Function`, whose own gradient is lost then.

    Raises:
        UntraceableError: the module's Python code branches on values; the message names the innermost module.
        ValueError: the module does not run on the example.
    """
    arguments = example_arguments(example)
    root = plain_copy(module).eval()
    with sharing():
        graph, whole, values = operations(root, arguments, opaque, inlines=inlines)
        only_eval = follow_training_flag(graph, root, values, arguments, (*opaque, *whole), inlines=inlines)
        _by_position(graph, root)
        run = _Recorder(root, graph)
        with computing():
            try:
                output = root(*arguments)
                run.run(*arguments)
            except UntraceableError:
                raise
            except Exception as error:
                where = "" if run.at is None else f" at {run.at.target!s} ({run.at.op})"
                shapes = [tuple(a.shape) if isinstance(a, Tensor) else a for a in arguments]
                raise ValueError(
                    f"{type(module).__name__} does not run on an example of shape {shapes}{where}: {error}; "
                    "give an input as the module expects it"
                ) from error
    return Traced(root, graph, output, only_eval, whole)


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


class _Recorder(fx.Interpreter):
    """Runs the graph; notes of every value shape and dtype, which inputs share its memory, which were overwritten."""

    def __init__(self, root: nn.Module, graph: fx.Graph) -> None:
        super().__init__(root, graph=graph)
        self.at: fx.Node | None = None

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a layer, which must not put anything into a list that it is given."""
        args, kwargs = _thawed(args), _thawed(kwargs)
        before = [list(part) for part in _containers((args, kwargs))]
        value = super().call_module(target, args, kwargs)
        after = [list(part) for part in _containers((args, kwargs))]
        if len(before) != len(after) or any(
            len(a) != len(b) or any(map(operator.is_not, a, b)) for a, b in zip(before, after, strict=True)
        ):
            layer = f"{target!r} ({type(self.module.get_submodule(target)).__name__})"
            raise UntraceableError(
                f"{layer} changes a list or dict that it is given, which no call in a graph can do: let it return what "
                "it adds, or do not name it in opaque=[...]",
                layer,
            )
        return value

    def run_node(self, n: fx.Node) -> Any:
        self.at = n
        inputs = {source: self.env[source] for source in n.all_input_nodes if isinstance(self.env[source], Tensor)}
        versions = {source: tensor._version for source, tensor in inputs.items()}
        with within(n.meta.get("contexts", ())):
            value = super().run_node(n)
        memory = {tensor.untyped_storage().data_ptr() for tensor in tensors_in(value)} - {0}
        n.meta["value"] = _without_storage(value)
        n.meta["shares"] = [s for s, tensor in inputs.items() if tensor.untyped_storage().data_ptr() in memory]
        n.meta["overwrites"] = [s for s, tensor in inputs.items() if tensor._version != versions[s]]
        return value


def _thawed(value: Any) -> Any:
    """The same, with Python's own lists and dicts in place of fx's."""
    if isinstance(value, list):
        return [_thawed(part) for part in value]
    if isinstance(value, tuple):
        return tuple(_thawed(part) for part in value)
    return {key: _thawed(part) for key, part in value.items()} if isinstance(value, dict) else value


def _containers(value: Any) -> list[Any]:
    """All lists and dicts within a value."""
    if not isinstance(value, list | tuple | dict):
        return []
    parts = value.values() if isinstance(value, dict) else value
    return ([] if isinstance(value, tuple) else [value]) + [one for part in parts for one in _containers(part)]


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
