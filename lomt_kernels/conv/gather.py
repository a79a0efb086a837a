"""Live channels alone, normalized and rectified on the way: what a convolution of a known, narrow shape reads."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from lomt_kernels import library, registry
from lomt_kernels.layout import FLOATS, wide
from lomt_kernels.live import LiveList

_OPS = library.OPS


def gather_channels(
    x: Tensor,
    live: LiveList | Tensor,
    *,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    rectify: bool = False,
    backend: str | None = None,
) -> Tensor:
    """A narrow copy of a map: its live channels, in one pass with what a normalization and a rectifier do to them.

    ``f(scale[c] · x[:, c] + shift[c])`` for each live channel c, f the rectifier max(0, ·) or nothing. Where a map is
    written anyway (by a batch normalization in evaluation mode, say), the gather costs nothing in that pass, and the
    convolution after it has the compacted shape. Differentiable in ``x``, ``scale`` and ``shift``.

    Args:
        x: ``(N, C, H, W)``, contiguous or channels_last (others are copied first).
        live: which channels: a tensor of indices in any order, each once, whose length is known without waiting for
            the device; a bool mask or a :class:`~lomt_kernels.LiveList` is counted by the host.
        scale: ``(C,)``, or None for 1.
        shift: ``(C,)``, or None for 0.
        rectify: apply the rectifier.
        backend: ``"reference"``, ``"native"``, ``"triton"``; by default the first that can.

    Returns:
        ``(N, live channels, H, W)``, laid out as ``x``.

    Raises:
        TypeError: ``x`` is no tensor of floating-point numbers, or ``live`` tells no channels.
        ValueError: something does not fit.

    Example:
        >>> x = torch.tensor([1.0, -2.0, 3.0]).view(1, 3, 1, 1)
        >>> gather_channels(x, torch.tensor([1, 2]), rectify=True).flatten()
        tensor([0., 3.])
    """
    if has_torch_function((x,)):
        settings: dict[str, Any] = {"scale": scale, "shift": shift, "rectify": rectify, "backend": backend}
        found: Tensor = handle_torch_function(gather_channels, (x,), x, live, **settings)
        return found
    if not isinstance(x, Tensor) or x.dtype not in FLOATS:
        raise TypeError(f"a map is a tensor of floating-point numbers, not {getattr(x, 'dtype', type(x).__name__)}")
    if x.ndim != 4:
        raise ValueError(f"a map of shape {tuple(x.shape)}: give (N, C, H, W)")
    channels = x.shape[1]
    for values, name in ((scale, "scale"), (shift, "shift")):
        if values is not None and (values.shape != (channels,) or values.device != x.device):
            raise ValueError(f"a {name} of {tuple(values.shape)} on {values.device}: give ({channels},) on {x.device}")
        if values is not None and not values.is_floating_point():
            raise TypeError(f"a {name} of {values.dtype}: give floating-point numbers")
    indices = _indices(live, channels)
    if indices.device != x.device:
        raise ValueError(f"live channels are listed on {indices.device}, and the map is on {x.device}")
    chosen = registry.choose("gather_channels", x.device, x.dtype, backend)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, scale, shift)):
        gathered: Tensor = _Gather.apply(x, indices, scale, shift, rectify, chosen)
        return gathered
    return _OPS.gather_channels(x, indices, scale, shift, rectify, chosen)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(
        x: Tensor, indices: Tensor, scale: Tensor | None, shift: Tensor | None, rectify: bool, backend: str
    ) -> Tensor:
        found: Tensor = _OPS.gather_channels(x, indices, scale, shift, rectify, backend)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, indices, scale, shift, ctx.rectify, ctx.backend = inputs
        needs_x = scale is not None and ctx.needs_input_grad[2]
        ctx.channels = x.shape[1]
        ctx.kinds = tuple(None if t is None else t.dtype for t in (scale, shift))
        ctx.save_for_backward(x if needs_x else None, indices, scale, output if ctx.rectify else None)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, indices, scale, output = ctx.saved_tensors
        if output is not None:
            grad = torch.where(output > 0, grad, 0)
        wanted = ctx.needs_input_grad
        to_x = to_scale = to_shift = None
        if wanted[0]:
            to_x = _Scatter.apply(grad, indices, scale, ctx.channels, ctx.backend)
        if wanted[2]:
            inner = (grad * _Gather.apply(x, indices, None, None, False, ctx.backend)).sum(
                (0, 2, 3), dtype=wide(grad.dtype)
            )
            to_scale = inner.new_zeros(ctx.channels).index_copy(0, indices.long(), inner).to(ctx.kinds[0])
        if wanted[3]:
            inner = grad.sum((0, 2, 3), dtype=wide(grad.dtype))
            to_shift = inner.new_zeros(ctx.channels).index_copy(0, indices.long(), inner).to(ctx.kinds[1])
        return to_x, None, to_scale, to_shift, None, None


class _Scatter(torch.autograd.Function):
    """What a gather becomes backward: channels at their places, scaled, zeros between them."""

    @staticmethod
    def forward(narrow: Tensor, indices: Tensor, scale: Tensor | None, channels: int, backend: str) -> Tensor:
        found: Tensor = _OPS.scatter_channels(narrow, indices, scale, channels, backend)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        narrow, indices, scale, _, ctx.backend = inputs
        ctx.save_for_backward(narrow if ctx.needs_input_grad[2] else None, indices, scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        narrow, indices, scale = ctx.saved_tensors
        to_narrow = _Gather.apply(grad, indices, scale, None, False, ctx.backend)
        to_scale = None
        if narrow is not None:
            inner = (narrow * _Gather.apply(grad, indices, None, None, False, ctx.backend)).sum((0, 2, 3))
            to_scale = inner.new_zeros(grad.shape[1]).index_copy(0, indices.long(), inner).to(scale.dtype)
        return to_narrow, None, to_scale, None, None


def _indices(live: LiveList | Tensor, channels: int) -> Tensor:
    if isinstance(live, Tensor) and live.dtype != torch.bool and live.is_cuda:
        return live.to(torch.int32)
    found = LiveList.of(live, channels)
    if isinstance(live, Tensor) and live.dtype != torch.bool:
        return live.to(torch.int32)
    return found.indices[: int(found.count)]
