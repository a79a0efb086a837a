"""Group shrinkage in plain PyTorch, in float64: what the other backends are tested against, and where none is, used.

In a diagonal metric D a group shrinks to the norm θ > 0 that solves ψ(θ) = Σ W² q² = 1, q = 1 / (θ + τ / D), or to 0
where ‖D W‖ ≤ τ (Deleu and Bengio, arXiv 2102.03869). h(θ) = 1 / sqrt(ψ) − 1 is increasing and concave: Newton's step
from any θ ends left of the root, and from there on they rise towards it. ``csrc/shrink/shrink.h`` is the same for one
group.
"""

import torch
from torch import Tensor

from lomt_kernels.layout import FLOATS, new_like, wide

LOOKS = 200
"""Newton's steps at most; a decade of D within a group costs one from a cold start."""


def refusal(device: str, dtype: torch.dtype) -> str | None:  # noqa: ARG001 – it runs wherever torch does
    """Why plain PyTorch can't be used on tensors like these; None where it can."""
    return None if dtype in FLOATS else f"groups are of floating-point weights, not of {dtype}"


def group_norms(weight: Tensor, axis: int, groups: int, block: int) -> Tensor:
    """See :func:`lomt_kernels.group_norms`."""
    return _members(weight, axis, groups, block).square().sum(1).sqrt().to(wide(weight.dtype))


def group_alive(weight: Tensor, axis: int, groups: int, block: int) -> Tensor:
    """See :func:`lomt_kernels.group_alive`."""
    return _members(weight, axis, groups, block).ne(0).any(1)


def group_shrink(
    weight: Tensor,
    tau: Tensor,
    metric: Tensor | None,
    start: Tensor | None,
    axis: int,
    groups: int,
    block: int,
) -> tuple[Tensor, Tensor]:
    """The shrunk weight, and the norm of each group after that."""
    W = _members(weight, axis, groups, block)
    thresholds = tau.double().expand(len(W))
    norm = W.square().sum(1).sqrt()
    if metric is None:
        factor = _factor(norm, thresholds)
        theta, kept = norm * factor, W * factor[:, None]
    else:
        D = _members(metric, axis, groups, block)
        theta = torch.where(thresholds == 0, norm, _root(W, D, thresholds, start))
        kept = W * (theta[:, None] * _inverse(theta, thresholds, D))
        kept = torch.where((thresholds == 0)[:, None], W, kept)
    kept = torch.where((theta == 0)[:, None], 0.0, kept)
    return _back(kept, weight, axis, groups, block), theta.to(wide(weight.dtype))


def group_shrink_backward(
    grad: Tensor,
    weight: Tensor,
    tau: Tensor,
    metric: Tensor | None,
    theta: Tensor,
    axis: int,
    groups: int,
    block: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the weight, of each group's tau, and of the metric (empty without one); 0 for dead groups."""
    W, g = _members(weight, axis, groups, block), _members(grad, axis, groups, block)
    thresholds = tau.double().expand(len(W))
    if metric is None:
        norm, inner = W.square().sum(1).sqrt(), (W * g).sum(1)
        factor = _factor(norm, thresholds)
        dead = factor == 0
        along = torch.where(dead, 0.0, thresholds * inner / norm**3)
        g_weight = factor[:, None] * g + along[:, None] * W
        g_tau = torch.where(dead, 0.0, -inner / norm)
        g_metric = theta.new_empty(0)
    else:
        D, t = _members(metric, axis, groups, block), theta.double()[:, None]
        dead, q = theta == 0, _inverse(theta.double(), thresholds, D)
        cube, pull = W.square() * q**3, W * q.square() * g / D
        chi, S = cube.sum(1), thresholds * pull.sum(1)
        ratio = torch.where(dead, 0.0, S / chi)[:, None]
        g_weight = t * q * g + ratio * W * q.square()
        g_tau = torch.where(dead, 0.0, -ratio[:, 0] * (cube / D).sum(1) - t[:, 0] * pull.sum(1))
        slope = thresholds[:, None] / D.square() * (t * g * W * q.square() + ratio * cube)
        slope = torch.where(dead[:, None], 0.0, slope)
        g_metric = _back(slope, weight, axis, groups, block, theta.dtype)
    g_weight = torch.where(dead[:, None], 0.0, g_weight)
    return _back(g_weight, weight, axis, groups, block), g_tau.to(theta.dtype), g_metric


def _factor(norm: Tensor, tau: Tensor) -> Tensor:
    """max(0, 1 − τ / ‖W‖), a NaN where the norm is one."""
    return torch.where(norm <= tau, 0.0, 1 - tau / norm)


def _inverse(theta: Tensor, tau: Tensor, D: Tensor) -> Tensor:
    """The q = 1 / (θ + τ / D), also where D is 0."""
    return D / (theta[:, None] * D + tau[:, None])


def _root(W: Tensor, D: Tensor, tau: Tensor, start: Tensor | None) -> Tensor:
    """The θ of every group, 0 for dead ones, a NaN where a weight or a metric is none or infinite."""
    theta = W.square().sum(1).sqrt() if start is None else start.double()
    theta = torch.where((theta > 0) & theta.isfinite(), theta, 0.0)
    # Where tau is 0 the look at 0 would divide by 0; the caller knows the answer there.
    open_, left = tau > 0, torch.zeros_like(tau, dtype=torch.bool)
    tau = torch.where(tau > 0, tau, 1.0)
    for _ in range(LOOKS):
        q = _inverse(theta, tau, D)
        terms = (W * q).square()
        psi, chi = terms.sum(1), (terms * q).sum(1)
        step = (psi.sqrt() - 1) * psi / chi
        new = torch.where(psi == 0, 0.0, theta + step)
        dead = (theta == 0) & (psi <= 1)
        # A step back from the left of the root is rounding.
        stays = dead | (left & (step <= 0))
        settled = stays | new.isnan() | ((new > 0) & (step.abs() <= 1e-8 * new))
        theta = torch.where(open_ & ~stays, torch.where(new > 0, new, torch.where(new.isnan(), new, 0.0)), theta)
        # After a long step, rounding may have carried it past the root.
        left, open_ = step.abs() <= 1e3 * new, open_ & ~settled
        if not open_.any():
            break
    return theta


def _members(tensor: Tensor, axis: int, groups: int, block: int) -> Tensor:
    """A weight's groups as rows, in float64."""
    return _grouped(tensor, axis, groups, block).double().flatten(1)


def _grouped(tensor: Tensor, axis: int, groups: int, block: int) -> Tensor:
    """``(number of groups, …)``: the members of every group."""
    out, inner, *kernel = tensor.shape
    if axis:
        return tensor.reshape(out // block, block, inner, *kernel)
    parts = tensor.reshape(groups, out // groups, inner // block, block, *kernel)
    return parts.transpose(1, 2).flatten(0, 1)


def _back(rows: Tensor, weight: Tensor, axis: int, groups: int, block: int, dtype: torch.dtype | None = None) -> Tensor:
    """Groups as rows → a new tensor of the weight's shape and layout."""
    out, inner, *kernel = weight.shape
    result = new_like(weight, dtype)
    if axis:
        return result.copy_(rows.reshape(weight.shape))
    parts = rows.reshape(groups, inner // block, out // groups, block, *kernel).transpose(1, 2)
    return result.copy_(parts.reshape(weight.shape))
