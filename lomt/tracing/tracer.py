"""fx's tracer for networks that look at sizes: decisions are taken as for the example, and checked in each run."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError
from torch.nn.modules.conv import _ConvNd

from lomt.tracing.contexts import ContextTracer
from lomt.tracing.copying import unchanged
from lomt.tracing.patches import builtins, factories
from lomt.tracing.proxies import SizeProxy, expect
from lomt.tracing.values import Values

_SPLITS = {"split", "chunk", "tensor_split", "unbind"}


class LoopError(TraceError):
    """A forward loops as often as the size of its input says, which no graph can."""


class Tracer(ContextTracer):
    """Traces a module with the values of an example at hand.

    Args:
        arguments: the example.
        opaque: names of submodules that are not looked into.
        loops: whether a loop over a size of the input is unrolled, and its length checked; else it is an error.
        like: values of the module's trace in another mode, to compute less.

    Attributes:
        failed: the innermost module in which tracing failed.
        culprit: its name; empty for the whole.
    """

    proxy_buffer_attributes = True

    def __init__(
        self, arguments: Sequence[Any], opaque: Sequence[str] = (), *, loops: bool = True, like: Values | None = None
    ) -> None:
        super().__init__()
        self.arguments = arguments
        self.opaque = opaque
        self.loops = loops
        self.like = like
        self.failed: str | None = None
        self.culprit = ""
        self.values = Values(nn.Module())

    def trace(self, root: Any, concrete_args: Any = None) -> fx.Graph:
        """The graph of a module."""
        self.values = Values(root, self.like)
        with factories(), builtins(root), unchanged(root):
            return super().trace(root, concrete_args)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Proxies of our kind."""
        return SizeProxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Layers of torch, whatever inherits their computation, and convolutions with a forward of their own."""
        if module_qualified_name in self.opaque or isinstance(m, _ConvNd | torch.jit.ScriptModule):
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
        self.values.begin([proxy.node for proxy in proxies], self.arguments)
        return root_fn, [self.root, *proxies]

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A call of a leaf, or what happens inside."""
        if self.values.evaluating:
            return forward(*args, **kwargs)
        if m not in (self.submodule_paths or {}):
            return self._unknown(m, forward, args, kwargs)
        path, depth = self.path_of_module(m), len(self.module_stack)
        try:
            output = super().call_module(m, forward, args, kwargs)
            for key, hook in list(m._forward_hooks.items()) if self.is_leaf_module(m, path) else ():
                if key not in self.values.hooks.get(m, ()):  # put there by the forward that is traced
                    output = self._hooked(hook, m, args, output)
            return output
        except Exception:
            if self.failed is None:
                self.failed, self.culprit = f"{path!r} ({type(m).__name__})", path
            raise
        finally:
            while len(self.module_stack) > depth:
                self.module_stack.popitem()

    @staticmethod
    def _hooked(hook: Callable[..., Any], m: nn.Module, args: Any, output: Any) -> Any:
        changed = hook(m, args, output)
        return output if changed is None else changed

    def _unknown(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A module that is nobody's part, such as ``nn.Sigmoid()(x)``: what it does, if it needs no tensors."""
        known = {id(tensor) for tensor in (*self.root.parameters(), *self.root.buffers())}
        if any(id(tensor) not in known for tensor in (*m.parameters(), *m.buffers())):
            raise TraceError(
                f"it calls a {type(m).__name__} with parameters that is no part of it: make it in __init__, and keep "
                "it as an attribute or in an nn.ModuleList or nn.ModuleDict"
            )
        return forward(*args, **kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """A parameter's proxy, or itself while values are computed."""
        return attr_val if self.values.evaluating else super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """A decision on sizes."""
        return bool(self.decide(obj))

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The parts of a tuple."""
        return SizeProxy.__iter__(obj)  # type: ignore[arg-type]

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

    def repeats(self, proxy: fx.Proxy) -> int:
        """How often a loop runs that a size bounds.

        Raises:
            LoopError: other sizes have another length, and loops are not to be unrolled.
        """
        if not self.loops and self.values.vary(proxy.node, lambda value: value):
            raise LoopError("its forward loops as often as a size of its input says")
        return int(self.decide(proxy))

    def value(self, node: fx.Node) -> Any:
        """The value of a node for the example."""
        return self.values.of(node)

    def count(self, proxy: fx.Proxy) -> int:
        """Of how many parts a value is made, for inputs of any size.

        Raises:
            LoopError: other sizes have other counts, and loops are not to be unrolled.
        """
        node: Any = proxy.node
        value = self.value(node)
        found = len(value)
        if not isinstance(value, torch.Size) and self.values.vary(node, len):  # dimensions are always as many
            if not self.loops:
                raise LoopError("its forward iterates over a dimension of its input")
            split = _name(node) in _SPLITS
            whole: Any = self.proxy(node.args[0]) if split else proxy
            dim = _dim_of(node) if split else 0
            self.decide(whole.shape[dim] if isinstance(self.value(whole.node), Tensor) else _length(proxy))
        return found


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _dim_of(node: fx.Node) -> int:
    place = 1 if _name(node) == "unbind" else 2
    dim = node.args[place] if len(node.args) > place else node.kwargs.get("dim", 0)
    return dim if isinstance(dim, int) else 0


def _length(proxy: fx.Proxy) -> fx.Proxy:
    return proxy.tracer.create_proxy("call_function", len, (proxy,), {})


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
