"""Group shrinkage in plain PyTorch, in float64: what the other backends are tested against, and where none is, used.

In a diagonal metric D a group shrinks to the norm θ > 0 that solves ψ(θ) = Σ W² q² = 1, q = 1 / (θ + τ / D), or to 0
where ‖D W‖ ≤ τ (Deleu and Bengio, arXiv 2102.03869). h(θ) = 1 / sqrt(ψ) − 1 is increasing and concave: Newton's step
from any θ ends left of the root, and from there on they rise towards it. ``csrc/shrink/shrink.h`` is the same for one
group, and says what becomes of it with a concave price.
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
    return members(weight, axis, groups, block).square().sum(1).sqrt().to(wide(weight.dtype))


def group_alive(weight: Tensor, axis: int, groups: int, block: int) -> Tensor:
    """See :func:`lomt_kernels.group_alive`."""
    return members(weight, axis, groups, block).ne(0).any(1)


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
    W = members(weight, axis, groups, block)
    thresholds = tau.double().expand(len(W))
    norm = W.square().sum(1).sqrt()
    if metric is None:
        factor = _factor(norm, thresholds)
        theta, kept = norm * factor, W * factor[:, None]
    else:
        D = members(metric, axis, groups, block)
        theta = torch.where(thresholds == 0, norm, solve(W, D, thresholds, start)[0])
        kept = W * (theta[:, None] * _inverse(theta, thresholds, D))
        kept = torch.where((thresholds == 0)[:, None], W, kept)
    kept = torch.where((theta == 0)[:, None], 0.0, kept)
    return back(kept, weight, axis, groups, block), theta.to(wide(weight.dtype))


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
    W, g = members(weight, axis, groups, block), members(grad, axis, groups, block)
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
        D, t = members(metric, axis, groups, block), theta.double()[:, None]
        dead, q = theta == 0, _inverse(theta.double(), thresholds, D)
        cube, pull = W.square() * q**3, W * q.square() * g / D
        chi, S = cube.sum(1), thresholds * pull.sum(1)
        ratio = torch.where(dead, 0.0, S / chi)[:, None]
        g_weight = t * q * g + ratio * W * q.square()
        g_tau = torch.where(dead, 0.0, -ratio[:, 0] * (cube / D).sum(1) - t[:, 0] * pull.sum(1))
        slope = thresholds[:, None] / D.square() * (t * g * W * q.square() + ratio * cube)
        slope = torch.where(dead[:, None], 0.0, slope)
        g_metric = back(slope, weight, axis, groups, block, theta.dtype)
    g_weight = torch.where(dead[:, None], 0.0, g_weight)
    return back(g_weight, weight, axis, groups, block), g_tau.to(theta.dtype), g_metric


def _factor(norm: Tensor, tau: Tensor) -> Tensor:
    """max(0, 1 − τ / ‖W‖), a NaN where the norm is one."""
    return torch.where(norm <= tau, 0.0, 1 - tau / norm)


def _inverse(theta: Tensor, tau: Tensor, D: Tensor) -> Tensor:
    """The q = 1 / (θ + τ / D), also where D is 0."""
    return D / (theta[:, None] * D + tau[:, None])


def solve(
    W: Tensor, D: Tensor, tau: Tensor, start: Tensor | None = None, curvature: float | Tensor = 0.0
) -> tuple[Tensor, Tensor]:
    """The θ of every group of the first minimum from 0 on, 0 for dead ones.

    Args:
        W: the groups as rows, float64.
        D: their metric.
        tau: a number a group.
        start: a guess of each θ.
        curvature: the c of a concave price τt − ct²/2, that ends at τ / c; one for all.

    Returns:
        θ, a NaN where a weight or a metric is none or infinite; and for which groups there is no minimum up to the end
        of the price.
    """
    curvature = torch.as_tensor(curvature, dtype=W.dtype, device=W.device)
    end = torch.where(curvature > 0, tau / curvature, torch.inf)
    theta = W.square().sum(1).sqrt() if start is None else start.double()
    theta = torch.where((theta > 0) & theta.isfinite(), theta, 0.0).minimum(end)
    # Where tau is 0 the look at 0 would divide by 0; the caller knows the answer there.
    open_, left, outside = tau > 0, torch.zeros_like(tau, dtype=torch.bool), torch.zeros_like(tau, dtype=torch.bool)
    tau = torch.where(tau > 0, tau, 1.0)
    for _ in range(LOOKS):
        r = 1 / (theta[:, None] * D + (tau - curvature * theta)[:, None])
        q = D * r
        terms = (W * q).square()
        psi, chi = terms.sum(1), (terms * (q - curvature * r)).sum(1)
        step = (psi.sqrt() - 1) * psi / chi
        new = torch.where(psi == 0, 0.0, theta + step)
        dead = (theta == 0) & (psi <= 1)
        falls = (psi > 0) & (chi <= 0) & psi.isfinite() & ~dead & (curvature > 0)
        # A step back from the left of the root is rounding.
        stays = dead | (left & (step <= 0) & ~falls)
        beyond = ~stays & ((falls & (left | (theta == 0))) | (~falls & (new > end)))
        outside |= open_ & beyond
        settled = stays | beyond | (~falls & (new.isnan() | ((new > 0) & (step.abs() <= 1e-8 * new))))
        new = torch.where(falls, 0.0, new)
        moved = torch.where((new > 0) | new.isnan(), new, 0.0)
        theta = torch.where(open_ & ~stays & ~beyond, moved, theta)
        # After a long step, rounding may have carried it past the root.
        left, open_ = falls | (step.abs() <= 1e3 * new), open_ & ~settled
        if not open_.any():
            break
    return theta, outside


def members(tensor: Tensor, axis: int, groups: int, block: int) -> Tensor:
    """A weight's groups as rows, in float64."""
    return _grouped(tensor, axis, groups, block).double().flatten(1)


def _grouped(tensor: Tensor, axis: int, groups: int, block: int) -> Tensor:
    """``(number of groups, …)``: the members of every group."""
    out, inner, *kernel = tensor.shape
    if axis:
        return tensor.reshape(out // block, block, inner, *kernel)
    parts = tensor.reshape(groups, out // groups, inner // block, block, *kernel)
    return parts.transpose(1, 2).flatten(0, 1)


def back(rows: Tensor, weight: Tensor, axis: int, groups: int, block: int, dtype: torch.dtype | None = None) -> Tensor:
    """Groups as rows → a new tensor of the weight's shape and layout."""
    out, inner, *kernel = weight.shape
    result = new_like(weight, dtype)
    if axis:
        return result.copy_(rows.reshape(weight.shape))
    parts = rows.reshape(groups, inner // block, out // groups, block, *kernel).transpose(1, 2)
    return result.copy_(parts.reshape(weight.shape))
