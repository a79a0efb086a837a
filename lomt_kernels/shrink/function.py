"""The public functions, and the derivative of group shrinkage."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lomt_kernels import library, registry
from lomt_kernels.layout import AXES, FLOATS, Axis, check_groups, group_count
from lomt_kernels.shrink import native, reference

_OPS = library.OPS


def group_norms(
    weight: Tensor, *, axis: Axis = "in", groups: int = 1, block: int = 1, backend: str | None = None
) -> Tensor:
    """‖W_g‖₂ of every group of a weight.

    Args:
        weight: a convolution's ``(out, in / groups, *kernel)`` or a linear layer's ``(out, in)``; any strides.
        axis: ``"in"``: a group is an input channel, with all the weights that read it. ``"out"``: an output channel,
            with all its weights.
        groups: the convolution's ``groups``. Input channels are counted over all of them: number
            ``g * (in / groups) + c`` is read by the g-th part of the outputs alone.
        block: so many adjacent channels are one group.
        backend: ``"reference"``, ``"native"``, ``"triton"``, ``"cuda"``; by default the first that can.

    Returns:
        ``(number of groups,)``, float64 for float64 weights, else float32; summed in float64. Not differentiable:
        :func:`group_shrink` is.

    Raises:
        TypeError: the weight is no tensor of real floating-point numbers in memory.
        ValueError: axis, groups or block do not fit the weight, or the backend can't be taken.
    """
    return _call("group_norms", weight, axis, groups, block, backend)


def group_alive(
    weight: Tensor, *, axis: Axis = "in", groups: int = 1, block: int = 1, backend: str | None = None
) -> Tensor:
    """Which groups of a weight have a member that is not exactly 0; a NaN is not 0.

    Args and errors are those of :func:`group_norms`.

    Returns:
        ``(number of groups,)`` of bool.
    """
    return _call("group_alive", weight, axis, groups, block, backend)


def group_shrink(
    weight: Tensor,
    tau: float | Tensor,
    metric: Tensor | None = None,
    *,
    axis: Axis = "in",
    groups: int = 1,
    block: int = 1,
    backend: str | None = None,
) -> Tensor:
    """The proximal operator of τ‖W_g‖₂: groups shrink, those that are small enough to exactly 0.

    The minimizer over U of ½ Σ D (U − W)² + Σ τ_g ‖U_g‖₂. Without a metric, W_g · max(0, 1 − τ / ‖W_g‖). In a metric D
    (Deleu and Bengio, arXiv 2102.03869), 0 where ‖D W_g‖ ≤ τ, else W θ / (θ + τ / D) with the θ that solves
    Σ W² / (θ + τ / D)² = 1. A weight that is a NaN makes all of its group one.

    Differentiable once in ``weight``, ``tau`` and ``metric``; gradients of a dead group are 0.

    Args:
        weight: as for :func:`group_norms`.
        tau: τ ≥ 0, taken as it is: a number, a scalar tensor, or one a group, ``(number of groups,)``.
        metric: D > 0, of the weight's shape; None is the identity.
        axis: as for :func:`group_norms`.
        groups: as for :func:`group_norms`.
        block: as for :func:`group_norms`.
        backend: as for :func:`group_norms`.

    Returns:
        A new tensor of the weight's shape and dtype; channels_last if the weight is, else contiguous.

    Raises:
        TypeError: the weight, τ or the metric is no tensor of real floating-point numbers in memory.
        ValueError: something does not fit the weight; τ is negative or NaN, or a metric is not positive (of tensors
            on a GPU, values are not looked at); the backend can't be taken.

    Example:
        >>> group_shrink(torch.tensor([[3.0, 0.3], [4.0, 0.4]]), 2.5)
        tensor([[1.5000, 0.0000],
                [2.0000, 0.0000]])
    """
    if metric is None:
        done = native.in_short("group_shrink", backend, weight, tau, axis, groups, block)
        if done is not None:
            return done
    place = check_groups(weight, axis, groups, block)
    count = group_count(weight, place, groups, block)
    tau = checked_tau(tau, weight, count)
    if metric is not None:
        _check_metric(metric, weight)
    chosen = registry.choose("group_shrink", weight.device, weight.dtype, backend)
    if torch.is_grad_enabled() and (
        weight.requires_grad or tau.requires_grad or (metric is not None and metric.requires_grad)
    ):
        shrunk: Tensor = _GroupShrink.apply(weight, tau, metric, place, groups, block, chosen)
        return shrunk
    return _shrink(weight, tau, metric, None, place, groups, block, chosen)[0]


def shrink_step(
    weight: Tensor,
    tau: Tensor,
    metric: Tensor | None = None,
    start: Tensor | None = None,
    *,
    axis: Axis = "in",
    groups: int = 1,
    block: int = 1,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """:func:`group_shrink` for optimizers: not differentiable, values are not looked at, and it says the norms.

    Args:
        weight: as for :func:`group_shrink`.
        tau: τ ≥ 0, a scalar tensor or one a group.
        metric: D ≥ 0.
        start: a guess of each group's norm after the step, such as the last step's, which saves looks at the weights.
        axis: as for :func:`group_norms`.
        groups: as for :func:`group_norms`.
        block: as for :func:`group_norms`.
        backend: as for :func:`group_norms`.

    Returns:
        The shrunk weight, and the norm of each group after that, 0 for dead ones.
    """
    chosen = registry.choose("group_shrink", weight.device, weight.dtype, backend)
    return _shrink(weight.detach(), tau, metric, start, AXES.index(axis), groups, block, chosen)


def _shrink(weight: Tensor, tau: Tensor, metric: Tensor | None, *how: Any) -> tuple[Tensor, Tensor]:
    given = (weight, tau) if metric is None else (weight, tau, metric)
    shrunk: tuple[Tensor, Tensor] = library.direct("group_shrink", *given)(weight, tau, metric, *how)
    return shrunk


class _GroupShrink(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        tau: Tensor,
        metric: Tensor | None,
        axis: int,
        groups: int,
        block: int,
        backend: str,
    ) -> Tensor:
        shrunk, theta = _shrink(weight, tau, metric, None, axis, groups, block, backend)
        ctx.save_for_backward(weight, tau, metric, theta)
        ctx.how = (axis, groups, block, backend)
        return shrunk

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, tau, metric, theta = ctx.saved_tensors
        to_weight, to_tau, to_metric = _OPS.group_shrink_backward(grad, weight, tau, metric, theta, *ctx.how)
        if tau.numel() == 1:
            to_tau = to_tau.sum()
        to_tau = to_tau.reshape(tau.shape).to(tau.dtype)
        return to_weight, to_tau, None if metric is None else to_metric.to(metric.dtype), None, None, None, None


def _call(operation: str, weight: Tensor, axis: Axis, groups: int, block: int, backend: str | None) -> Tensor:
    done = native.in_short(operation, backend, weight, axis, groups, block)
    if done is not None:
        return done
    place = check_groups(weight, axis, groups, block)
    chosen = registry.choose(operation, weight.device, weight.dtype, backend)
    if (torch.compiler.is_compiling() or torch.jit.is_tracing()) and torch.onnx.is_in_onnx_export():
        return getattr(reference, operation)(weight, place, groups, block)  # ONNX has no such operator
    found: Tensor = library.direct(operation, weight)(weight.detach(), place, groups, block, chosen)
    return found


def checked_tau(tau: float | Tensor, weight: Tensor, count: int) -> Tensor:
    """τ as a tensor, if it is one for all groups or one each, and not negative where that can be seen."""
    if not isinstance(tau, Tensor):
        if not tau >= 0:
            raise ValueError(f"tau={tau}: a threshold is 0 or more")
        return torch.full((), float(tau), dtype=torch.float64, device=weight.device)
    if not tau.is_floating_point():
        raise TypeError(f"tau is of {tau.dtype}: give floating-point thresholds")
    size, device = tau.numel(), tau.device
    if size != 1 and tau.shape != (count,):
        raise ValueError(f"tau of shape {tuple(tau.shape)}: give a scalar, or one for each of the {count} groups")
    if device != weight.device:
        raise ValueError(f"tau is on {device}, the weight on {weight.device}")
    if device.type == "cpu" and not torch.compiler.is_compiling():
        least = tau.item() if size == 1 else float(tau.detach().min()) if size else 0.0
        if not least >= 0:
            raise ValueError(f"tau has {least}: thresholds are 0 or more")
    return tau


def _check_metric(metric: Tensor, weight: Tensor) -> None:
    if metric.shape != weight.shape or metric.device != weight.device:
        raise ValueError(
            f"a metric of shape {tuple(metric.shape)} on {metric.device} for a weight of {tuple(weight.shape)} on "
            f"{weight.device}: give one number a weight"
        )
    if metric.dtype not in FLOATS:
        raise TypeError(f"the metric is of {metric.dtype}: give floating-point numbers")
    if metric.device.type == "cpu" and not torch.compiler.is_compiling() and not bool((metric.detach() > 0).all()):
        raise ValueError(f"the metric has {float(metric.detach().min())}: its numbers are above 0")
