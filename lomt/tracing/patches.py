"""Functions that want plain numbers, taught for the time of a trace to take sizes that are traced."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn

_FACTORIES = (
    *("ones", "zeros", "full", "empty", "rand", "randn", "randint", "randperm", "normal"),
    *("arange", "linspace", "eye", "tensor", "as_tensor", "scalar_tensor"),
)


@contextmanager
def factories() -> Iterator[None]:
    """Let ``torch.ones(x.shape[0], 1)`` and its like be recorded."""
    plain = {name: getattr(torch, name) for name in _FACTORIES}
    for name, function in plain.items():
        setattr(torch, name, _recorded(function))
    try:
        yield
    finally:
        for name, function in plain.items():
            setattr(torch, name, function)


def _recorded(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        proxy = next(_proxies([*args, *kwargs.values()]), None)
        if proxy is None:
            return function(*args, **kwargs)
        return proxy.tracer.create_proxy("call_function", function, args, kwargs)

    return call


def _proxies(values: Any) -> Iterator[fx.Proxy]:
    for value in values:
        if isinstance(value, fx.Proxy):
            yield value
        elif isinstance(value, list | tuple):
            yield from _proxies(value)


@contextmanager
def builtins(root: nn.Module) -> Iterator[None]:
    """Let ``int``, ``float``, ``len`` and ``range`` take sizes, wherever code of a network's own may run."""
    changed: list[tuple[dict[str, Any], list[str]]] = []
    for scope in _scopes(root):
        new = [name for name in _STAND_INS if name not in scope]
        scope |= {name: _STAND_INS[name] for name in new}
        changed.append((scope, new))
    try:
        yield
    finally:
        for scope, new in changed:
            for name in new:
                if scope.get(name) is _STAND_INS[name]:
                    del scope[name]


def _scopes(root: nn.Module) -> list[dict[str, Any]]:
    """The global names that a network's classes see, and those of functions and modules of its own that they import."""
    classes = {kind for module in root.modules() for kind in type(module).__mro__}
    holders = [vars(holder) for holder in (*classes, *root.modules())]
    stack = [function.__globals__ for holder in holders for function in _functions(holder)]
    homes = {_home(scope) for scope in stack}
    found: dict[int, dict[str, Any]] = {}
    while stack:
        scope = stack.pop()
        if id(scope) in found or not _is_of_others(_home(scope)):
            continue
        found[id(scope)] = scope
        if _home(scope) not in homes:
            continue
        stack += [function.__globals__ for function in _functions(scope)]
        for value in list(scope.values()):
            inside = vars(value) if isinstance(value, ModuleType) else None
            if inside is not None and _home(inside) in homes:
                stack.append(inside)
    return list(found.values())


def _functions(scope: Mapping[str, Any]) -> list[FunctionType]:
    return [value for value in list(scope.values()) if isinstance(value, FunctionType)]


def _home(scope: Mapping[str, Any]) -> str:
    return str(scope.get("__name__")).partition(".")[0]


def _is_of_others(home: str) -> bool:
    return home not in sys.stdlib_module_names and home not in ("torch", "lomt", "lomt_kernels", "numpy")


class _Number(type):
    """The class of classes that look like ``int`` and ``float``."""

    plain: ClassVar[type]

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], fx.Proxy) and not isinstance(_value(args[0]), Tensor):
            return args[0].tracer.create_proxy("call_function", cls.symbolic, (args[0],), {})
        return cls.plain(*args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.plain)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.plain)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.plain, name)


class _Int(metaclass=_Number):
    plain, symbolic = int, staticmethod(torch.sym_int)


class _Float(metaclass=_Number):
    plain, symbolic = float, staticmethod(torch.sym_float)


def _len(value: Any) -> Any:
    if isinstance(value, fx.Proxy) and isinstance(_value(value), Tensor):
        sized: Any = value
        return sized.shape[0]
    return len(value)


def _range(*bounds: Any) -> Any:
    return range(*[_repeats(bound) if isinstance(bound, fx.Proxy) else bound for bound in bounds])


def _repeats(bound: Any) -> int:
    count: int = bound.tracer.repeats(bound)
    return count


def _value(proxy: fx.Proxy) -> Any:
    tracer: Any = proxy.tracer
    return tracer.value(proxy.node)


_STAND_INS: dict[str, Any] = {"int": _Int, "float": _Float, "len": _len, "range": _range}
