"""Layers as JSON: their class of ``torch.nn`` and the arguments that make them anew."""

import inspect
from typing import Any

from torch import Tensor, nn

from lomt.models.deeplab import AtrousConv
from lomt.nn.converting import plain_kind

_OURS: dict[str, type[nn.Module]] = {"AtrousConv": AtrousConv}
_OTHER_NAMES = {"inputs": "in_channels", "outputs": "out_channels", "init": "init"}
_NOT_STORED = {"self", "device", "dtype", "args", "kwargs"}


def layer_to_dict(name: str, layer: nn.Module) -> dict[str, Any]:
    """The class and the arguments of a layer.

    Raises:
        TypeError: the layer's computation is neither torch's nor ours: its code would be needed to load it.
    """
    kind = _kind(layer)
    if kind is None or layer._forward_hooks or layer._forward_pre_hooks:
        raise TypeError(
            f"layer {name!r} is a {type(layer).__name__} with code of its own, which a file can't hold: "
            "write it with layers of torch.nn, or save its state_dict and keep the code"
        )
    arguments = {}
    for parameter in inspect.signature(kind.__init__).parameters.values():
        if parameter.name in _NOT_STORED:
            continue
        value = getattr(layer, _OTHER_NAMES.get(parameter.name, parameter.name), parameter.default)
        if value is inspect.Parameter.empty:
            raise TypeError(f"layer {name!r}: argument {parameter.name!r} of {kind.__name__} can't be told from it")
        if parameter.name in ("bias", "affine") and (isinstance(value, Tensor) or value is None):
            value = value is not None
        if isinstance(value, tuple | list):
            value = list(value)
        elif not isinstance(value, int | float | str | None):
            raise TypeError(f"layer {name!r}: {parameter.name} is {value!r}, which a file can't hold")
        arguments[parameter.name] = value
    return {"kind": kind.__name__, "arguments": arguments}


def layer_from_dict(state: dict[str, Any]) -> nn.Module:
    """A new layer.

    Raises:
        ValueError: no such class, or it does not take the arguments.
    """
    kind = _OURS.get(state["kind"]) or getattr(nn, state["kind"], None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ValueError(f"unknown layer {state['kind']!r}: the file is of a newer version, or damaged")
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in state["arguments"].items()}
    try:
        layer: nn.Module = kind(**arguments)
    except TypeError as error:
        raise ValueError(f"layer {state['kind']} can't be made of {arguments}: {error}") from error
    return layer


def _kind(layer: nn.Module) -> type[nn.Module] | None:
    """The class that computes what the layer does: its own, or the parent that it inherits ``forward`` from."""
    for kind in plain_kind(type(layer)).__mro__:
        if kind in _OURS.values() or getattr(nn, kind.__name__, None) is kind:
            return kind
        if "forward" in vars(kind):
            return None
    return None
