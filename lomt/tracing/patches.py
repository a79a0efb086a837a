"""Functions that want plain numbers, taught for the time of a trace to take sizes that are traced."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar

import torch
from torch import Tensor, fx

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
def builtins() -> Iterator[None]:
    """Let ``int``, ``float``, ``len`` and ``range`` take sizes, in each module of others whose functions are called."""
    changed: list[dict[str, Any]] = []
    before = sys.getprofile()

    def seen(frame: FrameType, event: Any, argument: Any) -> None:
        scope = frame.f_globals
        if event == "call" and "int" not in scope and _is_of_others(str(scope.get("__name__"))):
            changed.append(scope)
            scope |= {name: stand_in for name, stand_in in _STAND_INS.items() if name not in scope}
        if before is not None:
            before(frame, event, argument)

    sys.setprofile(seen)
    try:
        yield
    finally:
        sys.setprofile(before)
        for scope in changed:
            for name, stand_in in _STAND_INS.items():
                if scope.get(name) is stand_in:
                    del scope[name]


def _is_of_others(module: str) -> bool:
    home = module.partition(".")[0]
    return home not in sys.stdlib_module_names and home not in ("torch", "lomt", "numpy")


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
