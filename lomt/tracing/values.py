"""The values that the nodes of a graph have, while it is made, for an example and for other sizes."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from lomt.tracing.contexts import within
from lomt.tracing.once import computing

_SIZES = {
    "shape",
    "size",
    "dim",
    "ndim",
    "ndimension",
    "numel",
    "dtype",
    "device",
    "stride",
    "is_cuda",
    "requires_grad",
}
_SIZES |= {"is_floating_point", "is_complex", "is_contiguous", "layout", "training"}


class Values:
    """Runs single nodes, when somebody asks for their values.

    Args:
        root: the module that is traced.
        like: of its trace in another mode: where nothing was different up to a node, its value has the same sizes.

    Attributes:
        hooks: the forward hooks that each of its modules had at first.
        evaluating: whether a node is run at the moment.
    """

    def __init__(self, root: nn.Module, like: "Values | None" = None) -> None:
        self.root = root
        self._like = {} if like is None else {node.name: (node, value) for node, value in like._example.items()}
        self._alike: set[fx.Node] = set()
        self.hooks = {module: set(module._forward_hooks) for module in root.modules()}
        self.evaluating = False
        self._example: dict[fx.Node, Any] = {}
        self._others: list[dict[fx.Node, Any]] = []

    def begin(self, inputs: Sequence[fx.Node], arguments: Sequence[Any]) -> None:
        """Give the inputs their values."""
        self._example = dict(zip(inputs, arguments, strict=True))
        self._alike = set(inputs)
        self._others = [dict(zip(inputs, other, strict=True)) for other in _variants(arguments)]

    def vary(self, node: fx.Node, measure: Callable[[Any], Any]) -> bool:
        """Whether a measure of a value is another one for a batch of one, a larger batch, or larger maps."""
        expected = measure(self.of(node))
        for values in self._others:
            try:
                if measure(self.of(node, values)) != expected:
                    return True
            except Exception:  # noqa: BLE001, S112 - foreign code need not accept such sizes
                continue
        return False

    def of(self, node: fx.Node, values: dict[fx.Node, Any] | None = None) -> Any:
        """The value of a node for the example, or what other ``values`` of the inputs make of it."""
        values = self._example if values is None else values
        if node in values:
            return values[node]
        for source in node.all_input_nodes:
            self.of(source, values)
        if values is self._example and self._is_alike(node):
            self._alike.add(node)
            values[node] = self._like[node.name][1]
            return values[node]
        self.evaluating = True
        try:
            with computing(), within(node.meta.get("contexts", ())):
                values[node] = self._run(node, values)
        finally:
            self.evaluating = False
        return values[node]

    def _is_alike(self, node: fx.Node) -> bool:
        """Whether a value has the sizes that it had in the other mode: operation and operands are the same."""
        other, _ = self._like.get(node.name, (None, None))
        if other is None or not self._alike.issuperset(node.all_input_nodes):
            return False
        if node.op == "call_module":
            home = type(self.root.get_submodule(str(node.target))).forward.__module__
            if not home.startswith(("torch.nn.", "lomt.")):
                return False  # it may look at its mode
        return (node.target, str(node.args), str(node.kwargs)) == (other.target, str(other.args), str(other.kwargs))

    def _run(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        args: Any = fx.node.map_arg(node.args, values.__getitem__)
        kwargs: Any = fx.node.map_arg(node.kwargs, values.__getitem__)
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.root)
        if node.op == "call_module":
            return self._run_module(self.root.get_submodule(str(node.target)), args, kwargs)
        if node.op == "call_method":
            value = getattr(args[0], str(node.target))(*args[1:], **kwargs)
        else:
            value = node.target(*args, **kwargs)  # type: ignore[operator]
        name = args[1] if node.target is getattr else node.target
        reads = any(isinstance(values[source], Tensor) for source in node.all_input_nodes)
        if reads and isinstance(value, int | float | bool) and name not in _SIZES:
            raise TraceError("the forward branches on the values of a tensor")
        return value

    def _run_module(self, layer: nn.Module, args: Any, kwargs: Any) -> Any:
        """Run a layer without the hooks that the traced forward put there."""
        hooks = layer._forward_hooks
        layer._forward_hooks = type(hooks)((k, v) for k, v in hooks.items() if k in self.hooks.get(layer, ()))
        try:
            return layer(*args, **kwargs)
        finally:
            layer._forward_hooks = hooks


def _variants(arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The example with one sample, with twice as many, and with maps of twice the size."""
    batch = next((a.shape[0] for a in arguments if isinstance(a, Tensor) and a.dim()), 1)

    def changed(change: Callable[[Tensor], Tensor]) -> tuple[Any, ...]:
        return tuple(change(a) if isinstance(a, Tensor) and a.dim() else a for a in arguments)

    return [
        changed(lambda a: a[:1] if len(a) == batch else a),
        changed(lambda a: torch.cat([a, a]) if len(a) == batch else a),
        changed(lambda a: a.repeat(1, 1, *[2] * (a.dim() - 2)) if a.dim() > 2 else a),
    ]
