"""The one equation behind group shrinkage in a diagonal metric: Σ W² / (θ + a)² = 1, solved for all groups at once.

The group lasso's proximal operator in a metric D shrinks a group to the norm θ that solves this equation with
a = τ / D, or to 0 where Σ (W / a)² ≤ 1 (Deleu and Bengio, arXiv 2102.03869). The function
h(θ) = 1 / ‖W / (θ + a)‖ − 1 is increasing and concave. So Newton's step from *any* θ ends left of the root, and from
there converges monotonically; where D is constant, h is linear and one step is exact. Two things follow that this
file lives on: a Newton step that ends at a positive θ proves that the group is alive, and the error after the
step is bounded by (3/2)(1 − θ E[q]) (δ/θ)² relative to θ, where δ is the step and E[q] the mean of 1 / (θ + a). With
the norm of the last optimizer step as the start, one look at the weights is nearly always enough, and provably so.
"""

import torch
from torch import Tensor

from tailor.sparsity.penalty import MEMBERS

TOLERANCE = 2.0**-22
# Of a group that the step shrinks to less than this share, θ is too sensitive for float32's sums.
SENSITIVE = 0.2
# What rounding may hide of 1 − θ E[q].
SLACK = 1e-6
# How near to the threshold float32 may not decide between dead and alive.
MARGIN = 1e-4
# Looks at a whole tensor before what is left is gathered.
LOOKS = 3
# If less than this share of the groups is open, gathering them is cheaper than another look at all.
FEW = 0.2
# Newton's steps in float64; decades of a in one group cost one each.
STEPS = 200


def shrink_(weights: Tensor, metric: Tensor, threshold: float | Tensor, start: Tensor | None = None) -> Tensor:
    """Replace W by argmin over U of ½ Σ D (U − W)² + τ ‖U_g‖₂, in place.

    Args:
        weights: W, ``(…, rows, columns)``, float32 or wider.
        metric: D > 0 of the same shape and memory layout.
        threshold: τ > 0.
        start: a guess of the resulting norms, of W's leading dimensions.

    Returns:
        The resulting norms θ, of W's leading dimensions; exactly 0 for dead groups.
    """
    tau = torch.as_tensor(threshold, dtype=weights.dtype, device=weights.device)
    shift = torch.div(tau, metric)
    theta = weights.square().sum(MEMBERS).sqrt() if start is None else start.to(weights.dtype)
    open_ = torch.ones_like(theta, dtype=torch.bool)
    for _ in range(LOOKS if weights.dtype == torch.float32 else 0):
        theta, proven = _look(weights, shift, theta)
        open_ = ~proven
        share = open_.float().mean().item()
        if share <= FEW:
            break
    if open_.any():
        theta[open_] = exact_norms(weights[open_], metric[open_], threshold).to(theta.dtype)
    dead = theta == 0
    # W θ / (θ + a) = W / (1 + a / θ): a dead group divides by infinity.
    ones = torch.ones_like(theta).masked_fill_(dead, torch.inf)
    inverse = theta.reciprocal().masked_fill_(dead, 0.0)
    weights.div_(torch.addcmul(spread(ones, weights), spread(inverse, weights), shift))
    return theta


def _look(weights: Tensor, shift: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """One Newton step from θ for all groups: the new θ, and for which groups it is proven to be the solution."""
    shifted = shift + spread(theta, weights)
    ratio = weights / shifted
    square = ratio.mul_(ratio)
    psi = total(square)
    mean = total(square.div_(shifted)).div_(psi)
    step = psi.sqrt().sub_(1).div_(mean)
    new = theta + step
    dead = (theta == 0) & (psi <= 1 - MARGIN)
    nearest = torch.minimum(new, theta)
    # θ / (θ + a), averaged, is what the step keeps of a group; taken where it is least on the way.
    kept = nearest * mean
    error = 1.5 * (1 - kept).clamp_(min=SLACK) * (step / nearest).square_()
    alive = (kept > SENSITIVE) & (error < TOLERANCE)
    # What ends at or left of 0 is looked at in 0 itself, where dead and alive part.
    return torch.where(dead | ~(new > 0), 0.0, new), dead | alive & new.isfinite()


def exact_norms(weights: Tensor, metric: Tensor, threshold: float | Tensor) -> Tensor:
    """θ of every group in float64, by Newton's method from the left until it stands still.

    Args:
        weights: W, ``(…, rows, columns)``.
        metric: D ≥ 0, of the same shape.
        threshold: τ > 0.

    Returns:
        θ ≥ 0, float64, of W's leading dimensions.
    """
    W = weights.double()
    tau = torch.as_tensor(threshold, dtype=torch.float64, device=W.device)
    D = metric.double()
    alive = (W * D).square().sum(MEMBERS) > tau.square()
    a = torch.where(W == 0, torch.ones_like(D), tau / D)
    square = W.square()
    norm = square.sum(MEMBERS).sqrt()
    finite = torch.where(a.isfinite(), square * a, torch.inf * square)
    theta = torch.where(alive, (norm - finite.sum(MEMBERS) / norm.square()).nan_to_num_(0.0).clamp_(min=0), 0.0)
    for _ in range(STEPS):
        shifted = a + theta[..., None, None]
        terms = square / shifted.square()
        psi = terms.sum(MEMBERS)
        step = torch.where(alive, (psi.sqrt() - 1) * psi / (terms / shifted).sum(MEMBERS), 0.0)
        theta = (theta + step).clamp_(min=0)
        if bool((step <= 4e-16 * theta).all()):
            break
    return theta


def total(values: Tensor) -> Tensor:
    """Sum over the members of every group, along memory where that is cheap."""
    if _short_runs(values):
        return values.sum(-2).sum(-1)
    return values.sum(MEMBERS)


def spread(numbers: Tensor, like: Tensor) -> Tensor:
    """One number a group, ready to broadcast over ``like``.

    Kernel windows (nine numbers in a row that share theirs) would be the innermost loop of each operation:
    written out once for one row, they join the loop over channels.
    """
    if _short_runs(like):
        return numbers[..., None, None].expand(*numbers.shape, 1, like.shape[-1]).contiguous()
    return numbers[..., None, None]


def _short_runs(values: Tensor) -> bool:
    return 1 < values.shape[-1] <= 64 and values.stride(-1) == 1 and values.shape[-2] > 1
