"""A network's convolutions, all at once: made to skip what is dead, frozen, thawed."""

import logging
from typing import TypeVar

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from lomt.nn.masked_conv2d import MaskedConv2d, checked_revival

M = TypeVar("M", bound=nn.Module)

_LOG = logging.getLogger("lomt")


def convert(module: M, *, revive_every: int | None = 1) -> M:
    """Let a network's convolutions skip dead channels, in place.

    Every plain ``nn.Conv2d`` becomes a :class:`MaskedConv2d`: the same object, with the same parameters, names and
    state dict. Outputs stay the same. Other convolutions (subclasses, parametrized ones, of other dimensions,
    transposed) are left alone, and named in a warning of the logger ``"lomt"``. Converting again changes
    ``revive_every``.

    Args:
        module: the network, before it is compiled or wrapped.
        revive_every: on every so many-th optimizer step, dead weights get their gradient; None: never.

    Returns:
        The module.

    Raises:
        TypeError: the module is compiled or scripted.
        ValueError: it has no convolution that can be converted, or ``revive_every`` is below 1.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> convert(net)[0]
        MaskedConv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
    """
    checked_revival(revive_every)  # before anything is changed
    if type(module).__name__ in ("OptimizedModule", "RecursiveScriptModule", "ScriptModule"):
        raise TypeError(f"the module is a {type(module).__name__}: convert it before it is compiled or scripted")
    found, left = 0, []
    for name, layer in module.named_modules():
        if type(layer) in (nn.Conv2d, MaskedConv2d) and not is_parametrized(layer) and hasattr(layer, "weight"):
            layer.__class__ = MaskedConv2d
            layer.revive_every = revive_every
            found += 1
        elif isinstance(layer, nn.modules.conv._ConvNd):
            why = "parametrized" if is_parametrized(layer) else type(layer).__name__
            left.append(f"{name or 'the module itself'} ({why})")
    if not found:
        said = f": {', '.join(left)} can't be" if left else ""
        raise ValueError(f"{type(module).__name__} has no nn.Conv2d to convert{said}")
    if left:
        _LOG.warning("convert: %d convolutions skip dead channels; left alone: %s", found, ", ".join(left))
    return module


def freeze(module: M) -> M:
    """Freeze every :class:`MaskedConv2d` of a network; returns it.

    Raises:
        ValueError: one's weight holds NaNs, or there is none.
    """
    for name, layer in _layers(module):
        try:
            layer.freeze()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return module


def thaw(module: M) -> M:
    """Thaw every :class:`MaskedConv2d` of a network; returns it.

    Raises:
        ValueError: there is none.
    """
    for _, layer in _layers(module):
        layer.thaw()
    return module


def _layers(module: nn.Module) -> list[tuple[str, MaskedConv2d]]:
    found = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, MaskedConv2d)]
    if not found:
        raise ValueError(f"{type(module).__name__} has no MaskedConv2d: convert() it first")
    return found
