"""The one equation behind group shrinkage in a diagonal metric: Σ W² / (θ + a)² = 1, solved for all groups at once.

The group lasso's proximal operator in a metric D shrinks a group to the norm θ that solves this equation with
a = τ / D, or to 0 where Σ (W / a)² ≤ 1 (Deleu and Bengio, arXiv 2102.03869). The function
h(θ) = 1 / ‖W / (θ + a)‖ − 1 is increasing and concave. So Newton's step from *any* θ ends left of the root, and from
there converges monotonically; where D is constant, h is linear and one step is exact. Two things follow that this
file lives on: a Newton step that ends at a positive θ proves that the group is alive, and the error after the
step is bounded by (3/2)(1 − θ E[q]) (δ/θ)² relative to θ, where δ is the step and E[q] the mean of 1 / (θ + a). With
the norm of the last optimizer step as the start, one look at the weights is nearly always enough, and provably so.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lomt.sparsity.penalty import Layer
from lomt.sparsity.pieces import Pieces, pick

TOLERANCE = 2.0**-22
# Of a group that the step shrinks to less than this share, θ is too sensitive for float32's sums.
SENSITIVE = 0.25
# What rounding may hide of 1 − θ E[q].
SLACK = 1e-6
# How near to the threshold float32 may not decide between dead and alive.
MARGIN = 1e-4
# Looks at all groups before what is left is gathered and solved in float64, and how few must be left to stop before.
LOOKS = 4
FEW = 0.06
# Norms go on changing as they did: Adam's own β₁, as a rule.
MOMENTUM = 0.9
# Newton's steps in float64; decades of a in one group cost one each.
STEPS = 200


def shrink_(layers: Sequence[Layer], prices: Sequence[float]) -> list[Tensor]:
    """Replace W by argmin over U of ½ Σ D (U − W)² + τ ‖U_g‖₂ in every layer, in place.

    Args:
        layers: W, float32 or float64, with their metrics D > 0, which must be laid out in memory as they are.
        prices: τ / step of each layer; τ > 0.

    Returns:
        The resulting norms θ of each layer, exactly 0 for dead groups, and by how much they differ from the last
        call's; ``(2, blocks, channels)``.
    """
    works = [_Work(layer, price) for layer, price in zip(layers, prices, strict=True)]
    last = torch.cat([work.last for work in works], 1)
    theta = _norms(works, *last)
    # W θ / (θ + a) = W / (1 + a / θ); a dead group is divided by infinity.
    dead = theta == 0
    one = torch.ones_like(theta).masked_fill_(dead, torch.inf)
    over = theta.reciprocal().masked_fill_(dead, 0.0)
    for work, *factors in zip(works, _split(one, works), _split(over, works), strict=True):
        work.finish(*factors)
    return [
        memory.unflatten(1, work.shape)
        for work, memory in zip(works, _split(torch.stack([theta, theta - last[0]]), works), strict=True)
    ]


class _Work:
    """One layer's weights and metric, in pieces; a number a group is flat here."""

    def __init__(self, layer: Layer, price: float) -> None:
        assert layer.metric is not None
        self.weights = layer.weights
        self.metric = layer.metric
        self.threshold = layer.step * price
        self.shape = self.weights.shape[:2]
        self.pieces = Pieces(self.weights)
        self.tau = torch.as_tensor(self.threshold, dtype=self.weights.dtype, device=self.weights.device)
        self.metrics = [self.metric(cut) for cut in self.pieces.cuts]
        if layer.start is None:
            norms = self.pieces.total([part.square() for part in self.pieces.parts]).sqrt_().flatten()
            self.last = torch.stack([norms, torch.zeros_like(norms)])
        else:
            self.last = layer.start.flatten(1)

    def moments(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Σ W² q² and Σ W² q³ of every group, q = 1 / (θ + τ / D)."""
        psi, chi = [], []
        guesses = self.pieces.spread(theta.view(self.shape))
        for part, metric, guess in zip(self.pieces.parts, self.metrics, guesses, strict=True):
            shifted = torch.addcdiv(guess, self.tau, metric)
            terms = part / shifted
            psi.append(self.pieces.part_total(terms.mul_(terms)))
            chi.append(self.pieces.part_total(terms.div_(shifted)))
        return self.pieces.join(psi).flatten(), self.pieces.join(chi).flatten()

    def members(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """W and D of some groups, by their numbers; ``(groups, members)``."""
        blocks, channels = groups // self.shape[1], groups % self.shape[1]
        if self.shape[0] > 1:
            weights, metric = self.weights[blocks, channels], self.metric(lambda whole: whole)[blocks, channels]
        else:
            weights, metric = pick(self.weights, channels)[0], self.metric(lambda whole: pick(whole, channels))[0]
        return weights.flatten(1), metric.flatten(1)

    def finish(self, one: Tensor, over: Tensor) -> None:
        """W / (one + over · τ / D), in place."""
        ones = self.pieces.spread(one.view(self.shape))
        overs = self.pieces.spread((over * self.tau).view(self.shape))
        for part, *factors in zip(self.pieces.parts, ones, overs, self.metrics, strict=True):
            part.div_(torch.addcdiv(*factors))


def _split(numbers: Tensor, works: Sequence[_Work]) -> tuple[Tensor, ...]:
    return numbers.split([work.shape.numel() for work in works], -1)


def _norms(works: Sequence[_Work], norms: Tensor, change: Tensor) -> Tensor:
    """θ of all groups of all layers, flat, from what they and their change were last time."""
    theta = torch.add(norms, change, alpha=MOMENTUM)
    theta = torch.where(theta > 0, theta, norms)
    left = torch.arange(len(theta), device=theta.device)
    for _ in range(LOOKS if theta.dtype == torch.float32 else 0):
        moments = [work.moments(part) for work, part in zip(works, _split(theta, works), strict=True)]
        psi, chi = (torch.cat(moment) for moment in zip(*moments, strict=True))
        theta, open_ = _newton(theta, psi, chi)
        left = open_.nonzero()[:, 0]
        if len(left) <= FEW * len(theta):
            break
    return theta.index_copy_(0, left, _exactly(works, left, theta[left])) if len(left) else theta


def _exactly(works: Sequence[_Work], groups: Tensor, start: Tensor) -> Tensor:
    """θ of some groups in float64, by their numbers in ascending order."""
    sizes = torch.tensor([0, *(work.shape.numel() for work in works)]).cumsum(0)
    ends = torch.searchsorted(groups.cpu(), sizes).tolist()
    members, thresholds = [], []
    for work, first, low, high in zip(works, sizes.tolist(), ends, ends[1:], strict=False):
        if low < high:
            members.append(work.members(groups[low:high] - first))
            tau = torch.as_tensor(work.threshold, dtype=torch.float64, device=groups.device)
            thresholds.append(tau.expand(high - low))
    lengths = torch.cat([torch.full((len(W),), W.shape[1], device=groups.device) for W, _ in members])
    flat = [torch.cat([one.flatten() for one in kind]).double() for kind in zip(*members, strict=True)]
    return exact_norms(flat[0], flat[1], lengths, torch.cat(thresholds), start).to(start.dtype)


def _newton(theta: Tensor, psi: Tensor, chi: Tensor) -> tuple[Tensor, Tensor]:
    """One step for all groups: the new θ, and for which groups it's not proven to be the solution."""
    mean = chi / psi
    step = psi.sqrt().sub_(1).div_(mean)
    new = theta + step
    nearest = torch.minimum(new, theta)
    # θ / (θ + a), averaged, is what the step keeps of a group; taken where it is least on the way.
    kept = mean.mul_(nearest)
    alive = kept > SENSITIVE
    error = kept.neg_().add_(1).clamp_(min=SLACK).mul_(step.div_(nearest).square_())
    alive &= error < TOLERANCE / 1.5
    dead = (theta == 0) & (psi <= 1 - MARGIN)
    # What ends left of 0 is looked at in 0 itself, where dead and alive part.
    return new.nan_to_num_(0.0, 0.0, 0.0).clamp_(min=0), ~alive.logical_or_(dead)


def exact_norms(weights: Tensor, metric: Tensor, lengths: Tensor, thresholds: Tensor, start: Tensor) -> Tensor:
    """θ of every group, by Newton's method from the left until it stands still.

    Args:
        weights: W of all groups, one group after the other, float64.
        metric: D ≥ 0 of all of them, float64.
        lengths: how many members each group has, ``(groups,)``.
        thresholds: τ of each group, float64.
        start: a guess of θ.

    Returns:
        θ ≥ 0 of each group, float64.
    """

    def total(values: Tensor) -> Tensor:
        return torch.segment_reduce(values, "sum", lengths=lengths, unsafe=True)

    def spread(numbers: Tensor) -> Tensor:
        return numbers.repeat_interleave(lengths, output_size=len(weights))

    alive = total((weights * metric).square_()) > thresholds.square()
    # A weight of metric 0 is at an infinite shift; one that is 0 adds nothing wherever it is.
    a = spread(thresholds).div_(metric).masked_fill_(weights == 0, 1.0)
    square = weights.square()
    theta = torch.where(alive & start.isfinite(), start.double(), 0.0)
    for _ in range(STEPS):
        shifted = a + spread(theta)
        terms = square / shifted.square()
        psi = total(terms)
        step = torch.where(alive, (psi.sqrt() - 1) * psi / total(terms.div_(shifted)), 0.0)
        theta = (theta + step).clamp_(min=0)
        # The error is of the order of the step's square.
        if bool((step.abs() <= 1e-5 * theta).all()):
            break
    return theta
