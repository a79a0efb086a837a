"""What tracing by itself forgets: regions without gradients or with autocast of their own, and custom gradients."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

Context = tuple[Any, ...]
"""``("no_grad",)`` or ``("autocast", device type, name of the dtype, enabled)``."""

_ASSIGNED = re.compile(r"(?:^ *|;  )(\w+)(?: : [^=]+)? = ")


@dataclass(frozen=True)
class Applied:
    """A :class:`torch.autograd.Function` as a function that a graph can call, its own gradient included."""

    function: type[torch.autograd.Function]

    @property
    def __name__(self) -> str:
        return self.function.__name__

    def __call__(self, *values: Any) -> Any:
        """What it gives."""
        return self.function.apply(*values)


class ContextTracer(fx.Tracer):
    """Notes in ``meta["contexts"]`` of a node in which regions its operation was; :func:`code_of` heeds it.

    Attributes:
        inlines: whether a :class:`torch.autograd.Function` is looked into, which loses its gradient.
    """

    inlines = False

    def trace(self, root: Any, concrete_args: Any = None) -> fx.Graph:
        """Trace as if gradients were on and autocast off outside."""
        self._autocasts: list[Context] = []
        self._free = False  # gradients are off within a Function only because it has one of its own
        with torch.enable_grad(), self._watching():
            return super().trace(root, concrete_args)

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> fx.Node:
        """A node that knows its contexts."""
        node = super().create_node(kind, *args, **kwargs)
        frozen: list[Context] = [] if self._free or torch.is_grad_enabled() else [("no_grad",)]
        contexts = (*frozen, *self._autocasts)
        if contexts and kind.startswith("call"):
            node.meta["contexts"] = contexts
        return node

    @contextmanager
    def _watching(self) -> Iterator[None]:
        patched: tuple[Any, Any] = torch.autocast, torch.autograd.Function
        autocast, function = patched
        enter, leave, apply = autocast.__enter__, autocast.__exit__, vars(function)["apply"]

        def entered(region: Any) -> Any:
            dtype = str(region.fast_dtype).removeprefix("torch.")
            self._autocasts.append(("autocast", region.device, dtype, region._enabled))
            return enter(region)

        def left(region: Any, *error: Any) -> Any:
            self._autocasts.pop()
            return leave(region, *error)

        def applied(chosen: Any, *values: Any, **named: Any) -> Any:
            if named or not any(isinstance(value, fx.Proxy) for value in values):
                return apply.__func__(chosen, *values, **named)
            if self.inlines:
                before, self._free = self._free, self._free or torch.is_grad_enabled()
                try:
                    return apply.__func__(chosen, *values)
                finally:
                    self._free = before
            return self.create_proxy("call_function", Applied(chosen), values, {})

        autocast.__enter__, autocast.__exit__, function.apply = entered, left, classmethod(applied)
        try:
            yield
        finally:
            autocast.__enter__, autocast.__exit__, function.apply = enter, leave, apply


def contexts_of(graph: fx.Graph) -> dict[str, tuple[Context, ...]]:
    """The nodes that have contexts, by name."""
    return {node.name: node.meta["contexts"] for node in graph.nodes if node.meta.get("contexts")}


def checked(contexts: Iterable[Context]) -> tuple[Context, ...]:
    """Contexts that a file states.

    Raises:
        TypeError, AttributeError: they are damaged; nothing else may become part of the code.
    """
    found = tuple(contexts)
    for kind, *how in found:
        plain = kind == "no_grad" and not how
        if not plain:
            device, dtype, enabled = how
            autocast = kind == "autocast" and isinstance(enabled, bool) and isinstance(device, str)
            if not autocast or not isinstance(getattr(torch, dtype), torch.dtype):
                raise TypeError(f"{(kind, *how)!r} is no context")
    return found


@contextmanager
def within(contexts: tuple[Context, ...]) -> Iterator[None]:
    """Be in contexts."""
    with ExitStack() as stack:
        for kind, *how in contexts:
            if kind == "no_grad":
                stack.enter_context(torch.no_grad())
            else:
                stack.enter_context(torch.autocast(how[0], dtype=getattr(torch, how[1]), enabled=how[2]))
        yield


def code_of(graph: fx.Graph) -> Callable[..., Any]:
    """A graph as a function of the module and its inputs, with ``with`` blocks around what had contexts."""
    code = graph.python_code("self")
    scope = dict(code.globals) | {"torch": torch}
    lines = in_blocks(code.src.splitlines(), contexts_of(graph))
    exec(compile("\n".join(lines), "<lomt graph>", "exec"), scope)  # noqa: S102 - fx's own generated code
    function: Callable[..., Any] = scope["forward"]
    return function


def in_blocks(lines: list[str], contexts: dict[str, tuple[Context, ...]]) -> list[str]:
    """Lines of code that a graph generated, one a node, with ``with`` blocks; of contexts by node."""
    written: list[str] = []
    before: tuple[Context, ...] = ()
    for line in lines:
        found = _ASSIGNED.search(line)
        now = contexts.get(found[1], ()) if found else ()
        if now and now != before:
            indent = line[: len(line) - len(line.lstrip())]
            written.append(f"{indent}with {', '.join(map(_code, now))}:")
        written.append(f"    {line}" if now else line)
        before = now
    return written


def _code(context: Context) -> str:
    kind, *how = context
    if kind == "no_grad":
        return "torch.no_grad()"
    device, dtype, enabled = how
    return f"torch.autocast({device!r}, dtype=torch.{dtype}, enabled={enabled})"
