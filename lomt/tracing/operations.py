"""The operations of a module's forward, as a graph for inputs of any size, in eval mode and in training."""

import operator
from collections.abc import Sequence
from typing import Any

from torch import fx, nn

from lomt.tracing.copying import shadow
from lomt.tracing.tracer import LoopError, Tracer
from lomt.tracing.values import Values


class UntraceableError(ValueError):
    """Python code of the module depends on the values of tensors, so that no graph stands for it.

    Attributes:
        culprit: the innermost module where that was seen, by name and class.
    """

    def __init__(self, message: str, culprit: str) -> None:
        super().__init__(message)
        self.culprit = culprit


def operations(
    root: nn.Module, arguments: Sequence[Any], opaque: Sequence[str], *, inlines: bool
) -> tuple[fx.Graph, tuple[str, ...], Values]:
    """The graph, the modules in it that were left whole because they loop over a size of their input, and its values.

    Where the whole module loops, the loop is unrolled, and the graph checks its length.

    Raises:
        UntraceableError: a forward branches on values; the message names the innermost module.
    """
    whole: tuple[str, ...] = ()
    while True:
        tracer = Tracer(arguments, (*opaque, *whole), loops=False)
        try:
            return _graph(root, tracer, inlines), whole, tracer.values
        except UntraceableError as error:
            if not isinstance(error.__cause__, LoopError):
                raise
            if not tracer.culprit:
                tracer = Tracer(arguments, (*opaque, *whole))
                return _graph(root, tracer, inlines), whole, tracer.values
            whole += (tracer.culprit,)


def _graph(root: nn.Module, tracer: Tracer, inlines: bool) -> fx.Graph:
    tracer.inlines = inlines
    try:
        return tracer.trace(root)
    except Exception as error:
        culprit = tracer.failed or type(root).__name__
        advice = f"name it in opaque=[{culprit.split(' ')[0]}] to leave it as it is" if tracer.failed else ""
        raise UntraceableError(
            f"can't trace {culprit}: {(str(error) or type(error).__name__).splitlines()[0]}; "
            f"{advice or 'a forward must not branch on the values of tensors'}",
            culprit,
        ) from error


def follow_training_flag(
    graph: fx.Graph, root: nn.Module, values: Values, arguments: Sequence[Any], opaque: Sequence[str], *, inlines: bool
) -> str | None:
    """Let arguments that were ``self.training`` (functional dropout's) follow the flag again, not its value in eval.

    Where a forward does other operations in training, that can't be, and the module is returned by its name.
    """
    try:
        training = _graph(shadow(root).train(), Tracer(arguments, opaque, like=values), inlines)
    except UntraceableError as error:
        return error.culprit
    pairs = list(zip(graph.nodes, training.nodes, strict=False))
    if len(graph.nodes) != len(training.nodes) or not all(_same_operation(a, b) for a, b in pairs):
        other = next((b for a, b in pairs if not _same_operation(a, b)), training.output_node())
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


def _same_operation(node: fx.Node, other: fx.Node) -> bool:
    return node.target == other.target and node.meta.get("contexts") == other.meta.get("contexts")


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
