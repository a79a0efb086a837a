"""Group MCP: a penalty that spares large groups."""

from typing import ClassVar

import torch
from torch import Tensor

from lomt.sparsity.groups import MEMBERS
from lomt.sparsity.penalty import Penalty, norms, root_size
from lomt_kernels.prox import minimizer


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
        block: so many adjacent channels are one group.

    Raises:
        ValueError: λ or γ is impossible.
    """

    name: ClassVar[str] = "group_mcp"

    def __init__(self, weight: float, gamma: float = 3.0, block: int = 1) -> None:
        self.gamma = gamma
        super().__init__(weight, block)

    def check(self) -> None:
        """See :meth:`Penalty.check`."""
        super().check()
        if not 0 < self.gamma < float("inf"):
            raise ValueError(
                f"GroupMCP has gamma {self.gamma}: γ must be a finite number above 0; without bound, use GroupLasso"
            )

    @property
    def curve(self) -> tuple[float, float]:
        """See :attr:`Penalty.curve`."""
        return self.weight, self.gamma

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
        W = weights.detach().double().reshape(-1, weights.shape[-2] * weights.shape[-1])
        D = torch.ones_like(W) if metric is None else metric.double().reshape(W.shape)
        scale = torch.as_tensor(step, dtype=torch.float64, device=W.device)
        price = (scale * self.weight * root_size(weights)).expand(len(W))
        curvature = scale / self.gamma if self.weight else 0 * scale
        return minimizer(W, D, price, curvature)[0].to(weights.dtype).view(weights.shape)

    def distance(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """‖∇ + p'(‖W‖) W / ‖W‖‖ of a live group, max(‖∇‖ − λ sqrt(|g|), 0) of a dead one."""
        price = self.weight * root_size(weights)
        norm = norms(weights)
        slope = (price - norm / self.gamma).clamp(min=0) / norm.clamp(min=torch.finfo(torch.float64).tiny)
        live = norms(gradient + slope[..., None, None] * weights)
        return torch.where(norm > 0, live, (norms(gradient) - price).clamp(min=0))
