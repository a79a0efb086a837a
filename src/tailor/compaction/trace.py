"""A module as a graph of operations, with the shape of every value."""

import copy
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

Example = Tensor | Sequence[Any]


class UntraceableError(ValueError):
    """Python code of the module depends on the values of its input, so that no graph stands for it."""


class Traced(NamedTuple):
    """What :func:`trace` gives: a private copy of the module in eval mode, and its graph.

    Every node carries ``meta["value"]``: its value for the example on the ``meta`` device where that is a tensor,
    else the Python value.
    """

    root: nn.Module
    graph: fx.Graph
    output: Any


class _Tracer(fx.Tracer):
    """fx's tracer; knows leaves by what they compute, and remembers where it failed."""

    proxy_buffer_attributes = True

    def __init__(self, opaque: Sequence[str]) -> None:
        super().__init__()
        self.opaque = opaque
        self.failed: str | None = None
        self.inputs = 1

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        inherited = type(m).forward.__module__.startswith(("torch.nn.modules", "torch.ao"))
        container = isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        own_step = isinstance(m, nn.Conv2d) and type(m)._conv_forward is not nn.Conv2d._conv_forward
        return module_qualified_name in self.opaque or (inherited and not container and not own_step)

    def create_args_for_root(
        self, root_fn: Callable, is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable, list[Any]]:
        """One placeholder for each value of the example; what it does not name keeps its default."""
        del is_module, concrete_args
        names = _parameter_names(root_fn, self.inputs)
        return root_fn, [self.root, *(self.create_proxy("placeholder", name, (), {}) for name in names)]

    def call_module(self, m: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if self.failed is None:
                self.failed = f"{self.path_of_module(m)!r} ({type(m).__name__})"
            raise


def _parameter_names(forward: Callable, count: int) -> list[str]:
    names: list[str] = []
    for parameter in list(inspect.signature(forward).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{i}" for i in range(count - len(names))]
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    if len(names) < count:
        raise ValueError(f"the example has {count} values, but forward takes {len(names)}: {names}")
    return names[:count]


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
    graph = _graph(root, len(arguments), opaque)
    _follow_training_flag(graph, root, len(arguments), opaque)
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


def _graph(root: nn.Module, inputs: int, opaque: Sequence[str]) -> fx.Graph:
    tracer = _Tracer(opaque)
    tracer.inputs = inputs
    try:
        graph = tracer.trace(root)
    except Exception as error:
        culprit = tracer.failed or type(root).__name__
        advice = f"name it in opaque=[{culprit.split(' ')[0]}] to leave it as it is" if tracer.failed else ""
        raise UntraceableError(
            f"can't trace {culprit}: {str(error).splitlines()[0]}; "
            f"{advice or 'its forward must not branch on the values or sizes of tensors'}"
        ) from error
    return graph


def _follow_training_flag(graph: fx.Graph, root: nn.Module, inputs: int, opaque: Sequence[str]) -> None:
    """Let arguments that were ``self.training`` (functional dropout's) follow the flag again, not its value in eval."""
    training = _graph(root.train(), inputs, opaque)
    root.eval()
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
