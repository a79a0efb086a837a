"""Cutting a backbone by tracing it: the taps' graph without its dead ends."""

import copy
import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from lomt.models.truncated import Truncated, prune
from lomt.tracing.contexts import ContextTracer, code_of, contexts_of
from lomt.tracing.copying import shadow, unchanged


class Traced(Truncated):
    """A backbone as a graph of calls, from which each set of taps gets a program of its own.

    Args:
        root: a copy of the backbone; loses what the graph does not use.
        graph: gives a tuple of the taps' values.
        taps: their names, in the same order.
    """

    def __init__(self, root: nn.Module, graph: fx.Graph, taps: Sequence[str]) -> None:
        _prune_to(root, graph)
        super().__init__(root, taps)
        self._graph = graph
        self._programs: dict[tuple[str, ...], Callable[..., tuple[Tensor, ...]]] = {}
        self._programs[self._taps] = self._compile(self._taps)

    def _features(self, image: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
        if names not in self._programs:
            self._programs[names] = self._compile(names)
        return dict(zip(names, self._programs[names](self, image), strict=True))

    def _also(self, names: Sequence[str]) -> "Traced":
        graph = fx.Graph()
        copied: dict[fx.Node, fx.Node] = {}
        values: Any = graph.graph_copy(self._graph, copied)
        calls = {str(node.target): copied[node] for node in self._graph.nodes if node.op == "call_module"}
        added = []
        for name in names:
            if name not in calls:
                raise ValueError(f"the cut backbone calls no module {name!r}: it calls {', '.join(list(calls)[-5:])} …")
            with graph.inserting_after(calls[name]):  # before anybody changes it in place
                added.append(graph.call_method("clone", (calls[name],)))
        graph.output((*values, *added))
        more = copy.copy(self)
        more.__dict__ = {**self.__dict__, "_modules": dict(self._modules), "_graph": graph, "_programs": {}}
        more._taps = (*self._taps, *names)
        return more

    def _compile(self, names: tuple[str, ...]) -> Callable[..., tuple[Tensor, ...]]:
        graph = fx.Graph()
        values: Any = graph.graph_copy(self._graph, {})
        graph.output(tuple(values[self._taps.index(name)] for name in names))
        remove_dead(graph)
        return code_of(graph)  # looks its parts up in self, whatever happens to them

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_programs": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._programs[self._taps] = self._compile(self._taps)


class _Recorder(ContextTracer):
    """Records which value each submodule gave last, containers too.

    Modules without parts stay calls, whoever wrote them, so that what they decide (by mode, by data) stays theirs.
    """

    proxy_buffer_attributes = True

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[str, fx.Node] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return next(m.children(), None) is None or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        name = self.path_of_module(m).removeprefix(_Call.prefix)
        self.outputs.pop(name, None)
        if isinstance(output, fx.Proxy):
            self.outputs[name] = output.node
        return output


class _Call(nn.Module):
    """Calls a backbone with one argument, so that its optional ones keep their defaults; drops what it returns."""

    prefix = "inner."

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: Tensor) -> None:
        self.inner(image)


def traced_cut(backbone: nn.Module, names: Sequence[str], overwritten: Collection[str]) -> Traced | None:
    """Cut a backbone by tracing.

    Args:
        backbone: stays as it is.
        names: the taps, in order of completion.
        overwritten: those whose value is changed in place later on, and must be kept safe.

    Returns:
        The cut backbone, or ``None`` where it can't be traced or a trace would be no faithful record of it: it raised,
        it drew random numbers, it made tensors of its own, or it took another way in train mode.
        Whether values agree is for :func:`lomt.models.probe.agrees` to say.
    """
    tried = shadow(backbone)
    graphs = [_graph(tried, names, overwritten, training=training) for training in (False, True)]
    if graphs[0] is None or graphs[1] is None or str(graphs[0]) != str(graphs[1]):
        return None
    if contexts_of(graphs[0]) != contexts_of(graphs[1]):
        return None
    return Traced(shadow(backbone), graphs[0], names)


def _graph(
    backbone: nn.Module, names: Sequence[str], overwritten: Collection[str], *, training: bool
) -> fx.Graph | None:
    tracer = _Recorder()
    before = _random_state()
    try:
        with unchanged(backbone):
            graph = tracer.trace(_Call(backbone.train(training)))
    except Exception:  # noqa: BLE001 - tracing runs foreign code with stand-ins, which may fail in any way
        return None
    finally:
        drew = _random_state() != before
    if drew or not all(name in tracer.outputs for name in names):
        return None
    values = [tracer.outputs[name] for name in names]
    for index, name in enumerate(names):
        if name in overwritten:
            with graph.inserting_after(values[index]):
                values[index] = graph.call_method("clone", (values[index],))
    graph.erase_node(graph.output_node())
    graph.output(tuple(values))
    remove_dead(graph)
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            node.target = str(node.target).removeprefix(_Call.prefix)
    own = {name for name, _ in backbone.named_parameters(remove_duplicate=False)}
    own |= {name for name, _ in backbone.named_buffers(remove_duplicate=False)}
    return graph if all(node.target in own for node in graph.nodes if node.op == "get_attr") else None


def remove_dead(graph: fx.Graph) -> None:
    """Remove every call whose value nobody reads."""
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)


def _prune_to(root: nn.Module, graph: fx.Graph) -> None:
    whole = {id(root.get_submodule(str(node.target))) for node in graph.nodes if node.op == "call_module"}
    named: dict[str, Tensor] = dict(root.named_parameters(remove_duplicate=False))
    named |= dict(root.named_buffers(remove_duplicate=False))
    prune(root, whole, {id(named[str(node.target)]) for node in graph.nodes if node.op == "get_attr"})


def _random_state() -> tuple[Any, ...]:
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - foreign code draws from the global one
    return torch.get_rng_state().tolist(), random.getstate(), numpy_state["state"]["pos"]
