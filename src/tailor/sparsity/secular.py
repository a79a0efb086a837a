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

from tailor.sparsity.penalty import Metric
from tailor.sparsity.pieces import MEMBERS, Pieces, pick, total

TOLERANCE = 2.0**-21
# Of a group that the step shrinks to less than this share, θ is too sensitive for float32's sums.
SENSITIVE = 0.1
# What rounding may hide of 1 − θ E[q].
SLACK = 1e-6
# How near to the threshold float32 may not decide between dead and alive.
MARGIN = 1e-4
# Looks at a whole layer before what is left is gathered, and looks at that before it's left to float64.
LOOKS = 3
# If less than this share of the channels is open, gathering them is cheaper than another look at all.
FEW = 0.25
# Newton's steps in float64; decades of a in one group cost one each.
STEPS = 200


def shrink_(weights: Tensor, metric: Metric, threshold: float | Tensor, start: Tensor | None = None) -> Tensor:
    """Replace W by argmin over U of ½ Σ D (U − W)² + τ ‖U_g‖₂, in place.

    Args:
        weights: W, ``(blocks, channels, rows, columns)``, float32 or float64; a group is ``[block, channel]``.
        metric: D > 0 for a range of channels, laid out in memory as W.
        threshold: τ > 0.
        start: a guess of the resulting norms, ``(blocks, channels)``.

    Returns:
        The resulting norms θ, ``(blocks, channels)``; exactly 0 for dead groups.
    """
    tau = torch.as_tensor(threshold, dtype=weights.dtype, device=weights.device)
    pieces = Pieces(weights)
    shifts = [torch.div(tau, metric(cut)) for cut in pieces.cuts]
    if weights.dtype == torch.float64:
        theta = exact_norms(weights, metric(lambda whole: whole), threshold)
    else:
        theta = _norms(pieces, shifts, metric, threshold, start)
    # W θ / (θ + a) = W / (1 + a / θ); a dead group is divided by infinity.
    dead = theta == 0
    one = pieces.spread(torch.ones_like(theta).masked_fill_(dead, torch.inf))
    over = pieces.spread(theta.reciprocal().masked_fill_(dead, 0.0))
    for place, (part, shift) in enumerate(zip(pieces.parts, shifts, strict=True)):
        part.div_(torch.addcmul(one[place], over[place], shift))
    return theta


def _norms(
    pieces: Pieces, shifts: list[Tensor], metric: Metric, threshold: float | Tensor, start: Tensor | None
) -> Tensor:
    theta = pieces.join([total(part.square()) for part in pieces.parts]).sqrt() if start is None else start
    for _ in range(LOOKS):
        guess = pieces.spread(theta)
        moments = [_moments(*piece) for piece in zip(pieces.parts, shifts, guess, strict=True)]
        psi, chi = (pieces.join(moment) for moment in zip(*moments, strict=True))
        theta, open_ = _newton(theta, psi, chi)
        channels = open_.any(0).nonzero()[:, 0]
        if len(channels) <= FEW * open_.shape[1]:
            break
    if len(channels):
        D = metric(lambda whole: pick(whole, channels))
        theta[:, channels] = _rest(pick(pieces.weights, channels), D, threshold, theta[:, channels])
    return theta


def _rest(weights: Tensor, metric: Tensor, threshold: float | Tensor, theta: Tensor) -> Tensor:
    """θ of the few groups that the looks at all of them left open."""
    shift = torch.div(torch.as_tensor(threshold, dtype=weights.dtype, device=weights.device), metric)
    for _ in range(LOOKS):
        theta, open_ = _newton(theta, *_moments(weights, shift, theta[..., None, None]))
        if not open_.any():
            return theta
    left = exact_norms(weights[open_], metric[open_], threshold, theta[open_])
    return theta.masked_scatter_(open_, left.to(theta.dtype))


def _moments(weights: Tensor, shift: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Σ W² q² and Σ W² q³ over the members of every group, q = 1 / (θ + a), with θ ready to broadcast."""
    shifted = shift + theta
    terms = weights / shifted
    psi = total(terms.mul_(terms))
    return psi, total(terms.div_(shifted))


def _newton(theta: Tensor, psi: Tensor, chi: Tensor) -> tuple[Tensor, Tensor]:
    """One step for all groups: the new θ, and for which groups it's not proven to be the solution."""
    mean = chi / psi
    step = (psi.sqrt() - 1) / mean
    new = theta + step
    nearest = torch.minimum(new, theta)
    # θ / (θ + a), averaged, is what the step keeps of a group; taken where it is least on the way.
    kept = nearest * mean
    error = 1.5 * (1 - kept).clamp_(min=SLACK) * (step / nearest).square_()
    alive = (kept > SENSITIVE) & (error < TOLERANCE)
    dead = (theta == 0) & (psi <= 1 - MARGIN)
    # What ends at or left of 0 is looked at in 0 itself, where dead and alive part.
    return torch.where(dead | ~(new > 0), 0.0, new), ~(dead | alive & new.isfinite())


def exact_norms(weights: Tensor, metric: Tensor, threshold: float | Tensor, start: Tensor | None = None) -> Tensor:
    """θ of every group in float64, by Newton's method from the left until it stands still.

    Args:
        weights: W, ``(…, rows, columns)``.
        metric: D ≥ 0, of the same shape.
        threshold: τ > 0.
        start: a guess, of W's leading dimensions.

    Returns:
        θ ≥ 0, float64, of W's leading dimensions.
    """
    W = weights.double()
    D = metric.double()
    tau = torch.as_tensor(threshold, dtype=torch.float64, device=W.device)
    alive = (W * D).square().sum(MEMBERS) > tau.square()
    # A weight of metric 0 is at an infinite shift; one that is 0 adds nothing wherever it is.
    a = torch.where(W == 0, 1.0, tau / D)
    square = W.square()
    # The left end: by Jensen's inequality θ ≥ ‖W‖ − E[a] with the weights W² (Newton's step from infinity).
    norm = square.sum(MEMBERS).sqrt()
    theta = norm - (square * a).sum(MEMBERS) / norm.square() if start is None else start.double()
    theta = torch.where(alive & theta.isfinite(), theta, 0.0).clamp_(min=0)
    for _ in range(STEPS):
        shifted = a + theta[..., None, None]
        terms = square / shifted.square()
        psi = terms.sum(MEMBERS)
        step = torch.where(alive, (psi.sqrt() - 1) * psi / (terms / shifted).sum(MEMBERS), 0.0)
        theta = (theta + step).clamp_(min=0)
        # The error is of the order of the step's square.
        if bool((step.abs() <= 1e-9 * theta).all()):
            break
    return theta
