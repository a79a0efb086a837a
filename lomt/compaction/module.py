"""The module that compaction returns: the layers that are left, and the graph that calls them."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from lomt.compaction.aliasing import remove_dead_code
from lomt.compaction.record import Compaction
from lomt.models import Network
from lomt.nn.shared_reading import reading_together
from lomt.tasks import Task
from lomt.tracing.contexts import code_of


def is_ours(module: Any) -> bool:
    """Whether a module's attributes ``tasks`` and ``taps`` mean what a network's of ours do, not just anything."""
    tasks = getattr(module, "tasks", None)
    named = isinstance(tasks, list | tuple) and bool(tasks) and all(isinstance(task, Task) for task in tasks)
    return named or isinstance(module, Network | Compacted)


def widen(output: Any) -> Any:
    """Float32 under autocast, as :class:`lomt.Network` gives its decoders' outputs; else the tensor itself."""
    if isinstance(output, fx.Proxy):  # traced again: the decision stays open
        return output.tracer.create_proxy("call_function", widen, (output,), {})
    return output.float() if torch.is_autocast_enabled(output.device.type) else output


class Compacted(nn.Module):
    """A module that runs a graph.

    Layers keep the names they had (``backbone.layer1.0.conv1``). Where the outputs are a dict, ``module(x,
    tasks=["depth"])`` computes only what these entries need. Attributes ``tasks`` and ``taps`` of a
    :class:`lomt.Network` are carried over.

    Args:
        root: where the graph's layers and tensors come from; they are shared, not copied.
        graph: its ``call_module`` and ``get_attr`` targets are names below ``root``.

    Attributes:
        graph: the operations in order; :meth:`torch.fx.Graph.print_tabular` shows them.
        record: what was removed, and which part of each tensor is left.
    """

    def __init__(self, root: nn.Module, graph: fx.Graph) -> None:
        super().__init__()
        for node in graph.nodes:
            if node.op in ("call_module", "get_attr") and node.target != "training":
                _adopt(self, root, str(node.target))
        self.graph = graph
        self.record = Compaction()
        self._compiled: dict[tuple[str, ...] | None, tuple[Callable[..., Any], list[list[str]]]] = {}

    def forward(self, *inputs: Any, tasks: Iterable[str] | None = None, **named: Any) -> Any:
        """What the original module computes.

        Args:
            inputs: the arguments that the example named, in order.
            tasks: keys of the output dict to compute; all of them where None.
            named: arguments that the example named, by the names that they had.

        Raises:
            TypeError: an argument that the example did not name, and that has its default for good.
        """
        if named:
            inputs = self._in_order(inputs, named)
        names = None if tasks is None else tuple(tasks)
        if names not in self._compiled:
            graph = self.graph if names is None else _subgraph(self.graph, names)
            self._compiled[names] = code_of(graph), _readers(graph)
        run, readers = self._compiled[names]
        with reading_together([self.get_submodule(name) for name in layers] for layers in readers):
            return run(self, *inputs)

    def _in_order(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        names = [str(node.target) for node in self.graph.nodes if node.op == "placeholder"]
        for name in named:
            if name not in names[len(inputs) :]:
                why = "is given twice" if name in names else "has its default for good"
                raise TypeError(
                    f"argument {name!r} {why}: this module takes {', '.join(names)}, as the example did that it was "
                    "compacted with; compact with an example that gives every argument"
                )
        return (*inputs, *(named[name] for name in names[len(inputs) :] if name in named))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": {}}


def _readers(graph: fx.Graph) -> list[list[str]]:
    """Names of the layers that are called on one and the same value, for each value with several of them."""
    found: dict[fx.Node, list[str]] = {}
    for node in graph.nodes:
        if node.op == "call_module" and len(node.all_input_nodes) == 1:
            found.setdefault(node.all_input_nodes[0], []).append(str(node.target))
    return [layers for layers in found.values() if len(layers) > 1]


def _adopt(module: nn.Module, root: nn.Module, name: str) -> None:
    """Hang ``root``'s layer or tensor ``name`` under the same name below ``module``."""
    *path, last = name.split(".")
    here, there = module, root
    for part in path:
        there = getattr(there, part)
        if part not in here._modules:
            here.add_module(part, nn.ModuleDict() if isinstance(there, nn.ModuleDict) else nn.Module())
        here = here.get_submodule(part)
    value = getattr(there, last)
    if isinstance(value, nn.Parameter):
        here.register_parameter(last, value)
    elif isinstance(value, Tensor):
        here.register_buffer(last, value, persistent=last not in there._non_persistent_buffers_set)
    elif isinstance(value, nn.Module):
        here.add_module(last, value)
    else:
        setattr(here, last, value)


def _subgraph(graph: fx.Graph, names: tuple[str, ...]) -> fx.Graph:
    """The graph of some entries of the output dict alone."""
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    outputs = graph.output_node().args[0]
    if not isinstance(outputs, dict):
        raise TypeError(f"the module returns a {type(outputs).__name__}, not a dict of tasks: call it without tasks")
    unknown = [name for name in names if name not in outputs]
    if unknown:
        raise KeyError(f"unknown task {unknown[0]!r}: this module has {list(outputs)}")
    for node in graph.nodes:
        if node.op != "output":
            copies[node] = part.node_copy(node, copies.__getitem__)
    part.output(torch.fx.node.map_arg({name: outputs[name] for name in names}, copies.__getitem__))
    remove_dead_code(part)
    return part
