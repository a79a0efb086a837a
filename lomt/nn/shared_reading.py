"""Layers that read the same map, as decoders at a shared tap do, read it together for the time of a forward."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lomt.nn.masked_conv2d import MaskedConv2d
from lomt_kernels import masked_conv2d_readers, registry


def reading_together(readers: Iterable[Sequence[nn.Module]]) -> AbstractContextManager[None]:
    """Within it, layers that read the same map do so in one call of :func:`lomt_kernels.masked_conv2d_readers`.

    The first of them that is called computes the outputs of all that have its kernel's size, stride, padding, dilation
    and groups; each of the others takes its own when it is called on that very map, if nothing has changed since.
    Outputs are those of separate calls, and gradients up to the order of sums.

    On their own are layers that aren't :class:`MaskedConv2d` or in which nothing is dead, those that have hooks before
    them or on a parameter, or computed parameters, and all of them where somebody traces, compiles or counts, and where
    gradient checkpointing will compute them again.

    Args:
        readers: for each map, the layers that will be called on it.
    """
    return nullcontext() if torch.compiler.is_compiling() else _together(readers)


@contextmanager
def _together(readers: Iterable[Sequence[nn.Module]]) -> Iterator[None]:
    told: list[MaskedConv2d] = []
    for layers in readers:
        masked = [layer for layer in dict.fromkeys(layers) if isinstance(layer, MaskedConv2d)]
        if len(masked) > 1:
            shared = SharedReading(masked)
            for layer in masked:
                layer.__dict__["_shared"] = shared
            told += masked
    try:
        yield
    finally:
        for layer in told:
            layer.__dict__.pop("_shared", None)


class _Waiting(NamedTuple):
    """An output that its layer has not asked for yet, and what it was computed from."""

    output: Tensor
    tensors: tuple[Tensor | None, ...]
    state: tuple[Any, ...]

    def fits(self, layer: MaskedConv2d, x: Tensor) -> bool:
        """Whether the layer would compute the same now."""
        same = all(old is new for old, new in zip(self.tensors, _tensors(layer, x), strict=True))
        return same and self.state == _state(layer, x)


class SharedReading:
    """One forward's reading of a map by some layers.

    Args:
        layers: all that will be called on it.
    """

    def __init__(self, layers: Sequence[MaskedConv2d]) -> None:
        self.layers = layers
        self.waiting: dict[MaskedConv2d, _Waiting] = {}
        self.done: set[MaskedConv2d] = set()

    def read(self, layer: MaskedConv2d, x: Tensor) -> Tensor:
        """A layer's output, and those of the others that can be computed with it."""
        found = self.waiting.pop(layer, None)
        if found is not None and found.fits(layer, x):
            return found.output
        asked, again = layer.asked(x), layer in self.done
        self.done.add(layer)
        if asked is None or not asked.skips or again or not _joins(layer, x):
            return layer.convolved(x, asked)
        together, geometry = {layer: asked}, layer.geometry(x)
        for other in self.layers:
            if other not in self.done and _joins(other, x) and other.geometry(x) == geometry:
                theirs = other.asked(x)
                if theirs is not None and theirs.skips and theirs.revive == asked.revive:
                    together[other] = theirs
        if len(together) == 1:
            return layer.convolved(x, asked)
        self.done.update(together)
        outputs = masked_conv2d_readers(
            x,
            [each.kernel for each in together.values()],
            [each.bias for each in together.values()],
            *asked.window,
            live_in=[each.live_in for each in together.values()],
            live_out=[each.live_out for each in together.values()],
            revive=asked.revive,
            padding_mode=layer.padding_mode,
        )
        for other, output in zip(together, outputs, strict=True):
            if other is not layer:
                self.waiting[other] = _Waiting(output, _tensors(other, x), _state(other, x))
        return outputs[0]


def _joins(layer: MaskedConv2d, x: Tensor) -> bool:
    """Whether a layer may read with others: nobody would see a difference."""
    parameters = [tensor for tensor in (layer.weight, layer.bias) if tensor is not None]
    return (
        not (
            layer._forward_pre_hooks
            or registry.watched(x)
            or _saving_differently()
            or any(tensor.is_inference() for tensor in (x, *parameters))
        )
        # A gradient that is None is none of the layer's, but hooks would be called with it.
        and all(type(tensor) is nn.Parameter and not tensor._backward_hooks for tensor in parameters)
    )


def _tensors(layer: MaskedConv2d, x: Tensor) -> tuple[Tensor | None, ...]:
    return x, layer.weight, layer.bias


def _state(layer: MaskedConv2d, x: Tensor) -> tuple[Any, ...]:
    """What else an output depends on."""
    kind = x.device.type
    versions = [None if tensor is None else tensor._version for tensor in _tensors(layer, x)]
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return versions, torch.is_grad_enabled(), dtype, _saving_differently(), layer.geometry(x)


def _saving_differently() -> bool:
    """Whether what autograd saves goes through hooks, as under gradient checkpointing; old torch doesn't tell."""
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return hooks is not None and hooks(True) is not None
