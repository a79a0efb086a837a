"""A network's convolutions, all at once: made to skip what is dead, frozen, thawed."""

import logging
from typing import TypeVar, cast

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from lomt.channels.readers import output_readers
from lomt.nn.masked_conv2d import MaskedConv2d, checked_revival, make_plain
from lomt.nn.unread_outputs import compute_all, skip_unread
from lomt.tracing.trace import Example

M = TypeVar("M", bound=nn.Module)

SKIPPING: dict[type[nn.Conv2d], type[MaskedConv2d]] = {nn.Conv2d: MaskedConv2d}
"""What each kind of convolution becomes."""

_LOG = logging.getLogger("lomt")


def convert(
    module: M, example: Example | None = None, *, revive_every: int | None = 1, skip_outputs: bool = False
) -> M:
    """Let a network's convolutions skip dead channels, in place.

    Every plain ``nn.Conv2d`` becomes a :class:`MaskedConv2d`: the same object, with the same parameters, names and
    state dict. Outputs stay the same. Other convolutions (subclasses, parametrized ones, of other dimensions,
    transposed) are left alone, and named in a warning of the logger ``"lomt"``. Converting again changes
    ``revive_every`` and ``skip_outputs``.

    With ``skip_outputs``, calls of the module don't compute output channels that nobody reads, since the weights of all
    their readers are 0 there; what remains of such a channel is its bias. Outputs and gradients stay the same, but
    running statistics of norms on such channels become those of a constant, and code that looks at maps from outside,
    hooks for example, finds constants there. A reader whose dead weights get their gradient reads all, so this needs
    frozen layers, a larger ``revive_every``, or no gradients at all.

    Args:
        module: the network, before it is compiled or sharded.
        example: what the module takes, for ``skip_outputs``: a tensor ``(N, C, H, W)`` as a rule, or a tuple of
            arguments.
        revive_every: on every so many-th optimizer step, dead weights get their gradient; None: never.
        skip_outputs: follow the channels from layer to layer, and skip what nobody reads.

    Returns:
        The module.

    Raises:
        TypeError: the module is compiled, scripted or sharded.
        ValueError: it has no convolution that can be converted; ``revive_every`` is below 1; or, with
            ``skip_outputs``, there is no example, the module does not run on it, or its channels can't be followed.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> convert(net)[0]
        MaskedConv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
    """
    checked_revival(revive_every)  # before anything is changed
    _check_plain(module)
    if skip_outputs and example is None:
        raise ValueError("skip_outputs follows the channels of an example: give one, convert(module, images, …)")
    outputs = output_readers(module, example, _convertible) if skip_outputs and example is not None else {}
    found, left = skip_dead(module, revive_every)
    if not found:
        said = f": {', '.join(left)} can't be" if left else ""
        raise ValueError(f"{type(module).__name__} has no nn.Conv2d to convert{said}")
    skip_unread(module, outputs)
    if left:
        _LOG.warning("convert: %d convolutions skip dead channels; left alone: %s", found, ", ".join(left))
    return module


def skip_dead(module: nn.Module, revive_every: int | None = 1) -> tuple[int, list[str]]:
    """What :func:`convert` does, without a word: how many convolutions skip now, and which were left alone, and why."""
    found, left = 0, []
    for name, layer in module.named_modules():
        if _convertible(layer):
            layer.__class__ = SKIPPING.get(type(layer), type(layer))
            layer.revive_every = revive_every
            found += 1
        elif isinstance(layer, nn.modules.conv._ConvNd):
            why = "parametrized" if is_parametrized(layer) else type(layer).__name__
            left.append(f"{name or 'the module itself'} ({why})")
    return found, left


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


def _check_plain(module: nn.Module) -> None:
    """Raise if the module is of a kind that layers can't be changed in."""
    if type(module).__name__ in ("OptimizedModule", "RecursiveScriptModule", "ScriptModule"):
        raise TypeError(f"the module is a {type(module).__name__}: convert it before it is compiled or scripted")
    for name, layer in module.named_modules():
        kinds = {kind.__name__ for kind in type(layer).__mro__}
        if kinds & {"FullyShardedDataParallel", "FSDPModule"}:
            raise TypeError(f"{name or 'the module'} is sharded (FSDP): convert it before it is wrapped")


def _convertible(layer: nn.Module) -> bool:
    known = type(layer) in SKIPPING or type(layer) in SKIPPING.values()
    return known and not is_parametrized(layer) and hasattr(layer, "weight")


def plain(module: M) -> M:
    """Take :func:`convert` back, in place: every :class:`MaskedConv2d` is an ``nn.Conv2d`` again, thawed.

    For copies that others get, who may not have this package. A network without any is left as it is.
    """
    for layer in module.modules():
        compute_all(layer)
        kind = plain_kind(type(layer))
        if kind is not type(layer):
            make_plain(cast("MaskedConv2d", layer), cast("type[nn.Conv2d]", kind))
    return module


def plain_kind(kind: type[nn.Module]) -> type[nn.Module]:
    """The kind of layer that computes the same without skipping anything; most are that themselves."""
    return next((plain for plain, skipping in SKIPPING.items() if skipping is kind), kind)


def _layers(module: nn.Module) -> list[tuple[str, MaskedConv2d]]:
    found = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, MaskedConv2d)]
    if not found:
        raise ValueError(f"{type(module).__name__} has no MaskedConv2d: convert() it first")
    return found
