"""A convolution whose input channels shrink as it runs: the group norm's proximal operator within it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from lomt_kernels import library, registry
from lomt_kernels.conv.function import masked_conv2d
from lomt_kernels.layout import check_groups, group_count, wide
from lomt_kernels.live import LiveList
from lomt_kernels.shrink import reference
from lomt_kernels.shrink.function import checked_tau

_OPS = library.OPS


def shrunk_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    tau: float | Tensor,
    block: int = 1,
    padding_mode: str = "zeros",
    backend: str | None = None,
) -> Tensor:
    """A convolution with ``group_shrink(weight, tau)`` for its weight, of which no copy is made.

    Each input channel's weights are multiplied by max(0, 1 − τ / ‖W_c‖) while they are packed, and channels where that
    is 0 are neither read nor given a gradient. Gradients in ``x``, ``weight``, ``bias`` and ``tau`` are exact: those of
    the convolution of the shrunk weight. Nothing waits for a GPU. Differentiable twice.

    Args:
        x: as for :func:`~lomt_kernels.masked_conv2d`.
        weight: likewise.
        bias: likewise.
        stride: likewise.
        padding: likewise.
        dilation: likewise.
        groups: likewise.
        tau: τ ≥ 0: a number, a scalar tensor, or one a group of ``block`` input channels.
        block: so many adjacent input channels are one group.
        padding_mode: as for :func:`~lomt_kernels.masked_conv2d`.
        backend: likewise.

    Returns:
        As :func:`~lomt_kernels.masked_conv2d`.

    Raises:
        TypeError: as :func:`~lomt_kernels.masked_conv2d`.
        ValueError: likewise; or τ is negative or NaN (on a GPU, values are not looked at).
    """
    if has_torch_function((x, weight)):
        settings: dict[str, Any] = {"tau": tau, "block": block, "padding_mode": padding_mode, "backend": backend}
        arguments = (x, weight, bias, stride, padding, dilation, groups)
        found: Tensor = handle_torch_function(shrunk_conv2d, (x, weight), *arguments, **settings)
        return found
    check_groups(weight, "in", groups, block)
    count = group_count(weight, 0, groups, block)
    tau = checked_tau(tau, weight, count)
    chosen = registry.choose("group_norms", weight.device, weight.dtype, None)
    scale: Tensor = _Factors.apply(weight, tau, groups, block, chosen)
    if block > 1:
        scale = scale.repeat_interleave(block)
    live = LiveList.of(scale.detach() != 0, scale.numel())  # a NaN is not 0
    return masked_conv2d(
        *(x, weight, bias, stride, padding, dilation, groups),
        live_in=live,
        scale=scale,
        padding_mode=padding_mode,
        backend=backend,
    )


class _Factors(torch.autograd.Function):
    """max(0, 1 − τ / ‖W_g‖) of every group; derivatives of dead groups are 0."""

    @staticmethod
    def forward(weight: Tensor, tau: Tensor, groups: int, block: int, backend: str) -> Tensor:
        if torch.onnx.is_in_onnx_export():  # which has no such operator
            norms = reference.group_norms(weight, 0, groups, block)
        else:
            norms = _OPS.group_norms(weight, 0, groups, block, backend)
        return _factors(norms, tau.to(norms.dtype))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        weight, tau, ctx.groups, ctx.block, _ = inputs
        ctx.save_for_backward(weight, tau, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, tau, factors = ctx.saved_tensors
        out, inner, *kernel = weight.shape
        parts = weight.reshape(ctx.groups, out // ctx.groups, inner // ctx.block, ctx.block, *kernel)
        squares = parts.to(wide(weight.dtype)).square().sum((1, *range(3, parts.ndim))).reshape(-1)
        dead = factors == 0
        norms = torch.where(dead, 1, squares).sqrt()
        of_tau = torch.where(dead, 0, -grad / norms)
        along = torch.where(dead, 0, grad * tau.to(norms.dtype) / norms.pow(3))
        along = along.reshape(ctx.groups, 1, inner // ctx.block, 1, *(1 for _ in kernel))
        of_weight = (parts * along).to(weight.dtype).reshape(weight.shape)
        of_tau = (of_tau.sum() if tau.numel() == 1 else of_tau).reshape(tau.shape).to(tau.dtype)
        return of_weight, of_tau, None, None, None


def _factors(norms: Tensor, tau: Tensor) -> Tensor:
    """Without 0/0; a NaN where the norm is one."""
    dead = norms <= tau.reshape(-1)
    return torch.where(dead, 0, 1 - tau.reshape(-1) / torch.where(dead, 1, norms))
