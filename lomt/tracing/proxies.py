"""Stand-ins for the values of a forward that is traced: sizes, decisions on them, parts and assignments."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, fx
from torch.fx.proxy import Attribute, TraceError


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


def assign(tensor: Any, index: Any, value: Any) -> Any:
    """``tensor[index] = value``, in place, as a call that gives the tensor."""
    if isinstance(tensor, fx.Proxy):
        return tensor.tracer.create_proxy("call_function", assign, (tensor, index, value), {})
    tensor[index] = value
    return tensor


class SizeProxy(fx.Proxy):
    """Stands for a value; sizes are numbers where Python insists on one."""

    tracer: Any

    def __getattr__(self, k: str) -> "SizeAttribute":
        return SizeAttribute(self, k)

    def __len__(self) -> int:
        value = self.tracer.value(self.node)
        if isinstance(value, Tensor):
            raise TraceError("the length of a tensor is a size of the input: write x.shape[0]")
        return int(self.tracer.count(self))

    def __iter__(self) -> Iterator[Any]:
        value = self.tracer.value(self.node)
        if isinstance(value, Mapping):
            return iter(list(value))
        whole: Any = self
        return iter([whole[i] for i in range(self.tracer.count(self))])

    def __setitem__(self, index: Any, value: Any) -> None:
        assign(self, index, value)

    def __index__(self) -> int:
        return int(self.tracer.decide(self))

    __int__ = __index__

    def __float__(self) -> float:
        return float(self.tracer.decide(self))

    def __round__(self, digits: int | None = None) -> Any:
        return self._call(round, *(() if digits is None else (digits,)))

    def __floor__(self) -> Any:
        return self._call(math.floor)

    def __ceil__(self) -> Any:
        return self._call(math.ceil)

    def __hash__(self) -> int:
        return id(self)

    def _call(self, function: Any, *others: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (self, *others), {})


class SizeAttribute(Attribute, SizeProxy):
    """``x.shape``, recorded when it is used."""

    __iter__ = SizeProxy.__iter__
    __hash__ = SizeProxy.__hash__

    def __init__(self, root: fx.Proxy, attr: str) -> None:
        super().__init__(root, attr)
        self.tracer: Any = root.tracer

    def __getattr__(self, k: str) -> Any:
        if self.attr == "device" and k == "type":  # torch.is_autocast_enabled and its like want a string
            return self.tracer.value(self.node).type
        return SizeAttribute(self, k)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A call of the method; of a dict's, its parts."""
        whole: Any = self.root
        if self.attr in ("keys", "values", "items") and isinstance(self.tracer.value(whole.node), Mapping):
            parts = [(key, whole[key]) for key in self.tracer.value(whole.node)]
            return parts if self.attr == "items" else [part[self.attr == "values"] for part in parts]
        return super().__call__(*args, **kwargs)
