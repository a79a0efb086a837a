"""fx's tracer for networks that look at sizes: decisions are taken as for the example, and checked in each run."""

import inspect
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import Attribute, TraceError
from torch.nn.modules.conv import _ConvNd

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


class OtherSizesError(ValueError):
    """The graph of a module was made for inputs of which some sizes compare otherwise."""


def expect(found: Any, expected: Any) -> None:
    """Stop where a decision on sizes would differ from the one that the graph was made with.

    Raises:
        OtherSizesError: it would.
    """
    if isinstance(found, fx.Proxy):
        found.tracer.create_proxy("call_function", expect, (found, expected), {})
    elif found != expected:
        raise OtherSizesError(
            f"the module takes another way for inputs of this size (a condition on sizes is {found}, and was "
            f"{expected} for the example): trace or compact it with an example of this size"
        )


class _Proxy(fx.Proxy):
    """Stands for a value; sizes are numbers where Python insists on one."""

    tracer: "Tracer"

    def __getattr__(self, k: str) -> "_Attribute":
        return _Attribute(self, k)

    def __len__(self) -> int:
        value = self.tracer.value(self.node)
        if isinstance(value, Tensor):
            raise TraceError("the length of a tensor is a size of the input")
        return len(value)

    def __iter__(self) -> Iterator["_Proxy"]:
        value = self.tracer.value(self.node)
        whole: Any = self
        return iter([whole[i] for i in range(len(value))])

    def __index__(self) -> int:
        return int(self.tracer.decide(self))

    __int__ = __index__

    def __float__(self) -> float:
        return float(self.tracer.decide(self))

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.tracer.decide(self), digits)

    def __hash__(self) -> int:
        return id(self)


class _Attribute(Attribute, _Proxy):
    """``x.shape``, recorded when it is used."""

    __iter__ = _Proxy.__iter__
    __hash__ = _Proxy.__hash__

    def __init__(self, root: fx.Proxy, attr: str) -> None:
        super().__init__(root, attr)
        self.tracer: Any = root.tracer

    def __getattr__(self, k: str) -> Any:
        if self.attr == "device" and k == "type":  # torch.is_autocast_enabled and its like want a string
            return self.tracer.value(self.node).type
        return _Attribute(self, k)


class Tracer(fx.Tracer):
    """Traces a module with the values of an example at hand.

    Args:
        arguments: the example.
        opaque: names of submodules that are not looked into.

    Attributes:
        failed: the innermost module in which tracing failed.
    """

    proxy_buffer_attributes = True

    def __init__(self, arguments: Sequence[Any], opaque: Sequence[str] = ()) -> None:
        super().__init__()
        self.arguments = arguments
        self.opaque = opaque
        self.failed: str | None = None
        self._values: dict[fx.Node, Any] = {}
        self._evaluating = False

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Proxies of our kind."""
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Layers of torch, whatever inherits their computation, and convolutions with a forward of their own."""
        if module_qualified_name in self.opaque or isinstance(m, _ConvNd):
            return True
        inherited = type(m).forward.__module__.startswith(("torch.nn.modules", "torch.ao"))
        return inherited and not isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """One placeholder for each value of the example; what it does not name keeps its default."""
        del is_module, concrete_args
        names = _parameter_names(root_fn, len(self.arguments))
        proxies = [self.create_proxy("placeholder", name, (), {}) for name in names]
        self._values.update({p.node: v for p, v in zip(proxies, self.arguments, strict=True)})
        return root_fn, [self.root, *proxies]

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A call of a leaf, or what happens inside."""
        if self._evaluating:
            return forward(*args, **kwargs)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if self.failed is None:
                self.failed = f"{self.path_of_module(m)!r} ({type(m).__name__})"
            raise

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """A parameter's proxy, or itself while values are computed."""
        return attr_val if self._evaluating else super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """A decision on sizes."""
        return bool(self.decide(obj))

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The parts of a tuple."""
        return _Proxy.__iter__(obj)  # type: ignore[arg-type]

    def decide(self, proxy: fx.Proxy) -> Any:
        """The value of a proxy for the example; the graph will check that it is the same for other inputs.

        Raises:
            TraceError: it is a tensor's, not a size.
        """
        value = self.value(proxy.node)
        if isinstance(value, Tensor):
            raise TraceError("the forward branches on the values of a tensor")
        self.create_node("call_function", expect, (proxy.node, value), {})
        return value

    def value(self, node: fx.Node) -> Any:
        """The value of a node for the example."""
        if node in self._values:
            return self._values[node]
        for source in node.all_input_nodes:
            self.value(source)
        self._evaluating = True
        try:
            with torch.no_grad():
                self._values[node] = self._run(node)
        finally:
            self._evaluating = False
        return self._values[node]

    def _run(self, node: fx.Node) -> Any:
        args: Any = fx.node.map_arg(node.args, self._values.__getitem__)
        kwargs: Any = fx.node.map_arg(node.kwargs, self._values.__getitem__)
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.root)
        if node.op == "call_module":
            return self.root.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "call_method":
            value = getattr(args[0], str(node.target))(*args[1:], **kwargs)
        else:
            value = node.target(*args, **kwargs)  # type: ignore[operator]
        name = args[1] if node.target is getattr else node.target
        reads = any(isinstance(self._values[source], Tensor) for source in node.all_input_nodes)
        if reads and isinstance(value, int | float | bool) and name not in _SIZES:
            raise TraceError("the forward branches on the values of a tensor")
        return value


def _parameter_names(forward: Callable[..., Any], count: int) -> list[str]:
    names: list[str] = []
    for parameter in list(inspect.signature(forward).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{i}" for i in range(count - len(names))]
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    if len(names) < count:
        raise ValueError(f"the example has {count} values, but forward takes {len(names)}: {names}")
    return names[:count]
