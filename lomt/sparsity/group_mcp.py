"""Group MCP: a penalty that spares large groups."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lomt.sparsity.groups import MEMBERS
from lomt.sparsity.penalty import Layer, Penalty, norms, root_size

STEPS = 200
# Weights that are worked on at once, in float64.
PIECE = 1 << 18


class GroupMCP(Penalty):
    """Σ p(‖W_g‖₂), the minimax concave penalty (Zhang, 2010) on norms of groups (Huang, Breheny and Ma, 2012).

    With λ_g = λ · sqrt(|g|), p(t) = λ_g t − t² / (2γ) up to t = γ λ_g, and the constant γ λ_g² / 2 from there on: near
    0 it is the group lasso, while a large group is not shrunk at all.

    It isn't convex. The proximal operator in a metric D with a step s is the unique, continuous solution where
    min D ≥ s / γ, which :meth:`unique` tells; elsewhere it jumps, and this class takes the global minimizer; of two
    equally good ones, the smaller. With Adam's metric, sqrt(v̂) + eps, and the step lr, jumps are what to expect.

    Args:
        weight: λ.
        gamma: γ > 0; with γ → ∞ it becomes the group lasso.

    Raises:
        ValueError: λ or γ is impossible.
    """

    name: ClassVar[str] = "group_mcp"

    def __init__(self, weight: float, gamma: float = 3.0) -> None:
        super().__init__(weight)
        if not 0 < gamma < float("inf"):
            raise ValueError(
                f"GroupMCP has gamma {gamma}: γ must be a finite number above 0; without bound, use GroupLasso"
            )
        self.gamma = gamma

    def value(self, weights: Tensor) -> Tensor:
        """Σ p(‖W_g‖₂) over the groups of ``weights``, ``(…, rows, columns)``; a scalar with a gradient."""
        return self._price(torch.linalg.vector_norm(weights, dim=MEMBERS), root_size(weights)).sum()

    def _price(self, norm: Tensor, root: float) -> Tensor:
        """The function p of norms."""
        bound = norm.clamp(max=self.gamma * self.weight * root)
        return bound * (self.weight * root - bound / (2 * self.gamma))

    def unique(self, metric: Tensor, step: float) -> Tensor:
        """For which groups the proximal operator has one solution and no jumps, of the leading dimensions."""
        return metric.amin(MEMBERS) >= step / self.gamma

    def prox(self, weights: Tensor, step: float | Tensor, metric: Tensor | None = None) -> Tensor:
        """See :meth:`Penalty.prox`; the global minimizer, of equally good ones the smaller."""
        return self._prox(weights, step, metric, root_size(weights))

    def _prox(self, weights: Tensor, step: float | Tensor, metric: Tensor | None, root: float) -> Tensor:
        if self.weight == 0:
            return weights.detach().clone()
        W = weights.detach().double()
        D = torch.ones_like(W) if metric is None else metric.double()
        scale = torch.as_tensor(step, dtype=torch.float64, device=W.device)
        tau = scale * self.weight * root
        theta, inside = _first_root(W, D, tau, scale / self.gamma)
        # W D θ / ((D − s/γ) θ + τ): what a norm of θ asks for; 0 for θ = 0.
        t = theta[..., None, None]
        U = torch.where(t > 0, W * D * t / ((D - scale / self.gamma) * t + tau), 0.0)
        cost = (D * (U - W).square()).sum(MEMBERS) / 2 + scale * self._price(norms(U), root)
        # The other candidate is W itself, where the penalty is flat.
        free = scale * self.gamma * (self.weight * root) ** 2 / 2
        flat = (norms(W) > self.gamma * self.weight * root) & (~inside | (free < cost))
        return torch.where(flat[..., None, None], W, U).to(weights.dtype)

    def prox_(self, layers: Sequence[Layer]) -> list[Tensor]:
        """See :meth:`Penalty.prox_`; it works in float64, on some channels after the other."""
        for layer in layers:
            weights, D = layer.weights, None if layer.metric is None else layer.metric()
            each = max(1, PIECE * weights.shape[1] // max(weights.numel(), 1))
            for first in range(0, weights.shape[1], each):
                part = weights[:, first : first + each]
                metric = None if D is None else D[:, first : first + each]
                part.copy_(self._prox(part, layer.step, metric, layer.root))
        return [layer.weights.new_zeros(layer.weights.shape[:2]) for layer in layers]

    def distance(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """‖∇ + p'(‖W‖) W / ‖W‖‖ of a live group, max(‖∇‖ − λ sqrt(|g|), 0) of a dead one."""
        price = self.weight * root_size(weights)
        norm = norms(weights)
        slope = (price - norm / self.gamma).clamp(min=0) / norm.clamp(min=torch.finfo(torch.float64).tiny)
        live = norms(gradient + slope[..., None, None] * weights)
        return torch.where(norm > 0, live, (norms(gradient) - price).clamp(min=0))


def _first_root(weights: Tensor, metric: Tensor, tau: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest θ ≥ 0 at which Σ (W D)² / ((D − c) θ + τ)² falls to 1.

    Along the norm, the derivative of the objective has the sign of 1 minus that sum. The sum is convex, so it
    falls to 1 at most once; at its second root, where it rises again, there's a maximum. Newton's step for
    1 / sqrt(sum), which is concave, comes from the left and never passes the root.

    Args:
        weights: W, ``(…, rows, columns)``, float64.
        metric: D.
        tau: τ, the price of a norm near 0.
        curvature: c = step / γ.

    Returns:
        θ, of W's leading dimensions, 0 where the sum starts at 1 or below; and for which groups there is such a θ.
    """
    force, slope = (weights * metric).square(), metric - curvature
    theta = torch.zeros(weights.shape[:-2], dtype=torch.float64, device=weights.device)
    inside = torch.ones_like(theta, dtype=torch.bool)
    # Where the penalty becomes flat there's no root any more.
    end = tau / curvature
    for _ in range(STEPS):
        denominator = slope * theta[..., None, None] + tau
        terms = force / denominator.square()
        psi = terms.sum(MEMBERS)
        chi = (terms * slope / denominator).sum(MEMBERS)
        above = psi > 1
        inside &= ~above | (chi > 0)
        step = torch.where(above & inside, (psi.sqrt() - 1) * psi / chi, 0.0)
        theta = theta + step
        inside &= theta <= end
        theta = torch.where(inside, theta, 0.0)
        if bool((step <= 1e-12 * theta).all()):
            break
    return theta, inside
