"""The group lasso, ℓ1/ℓ2: the penalty of LOMT."""

from typing import ClassVar

import torch
from torch import Tensor

from lomt.sparsity.groups import MEMBERS
from lomt.sparsity.penalty import Penalty, norms, root_size
from lomt_kernels.shrink import shrink_step


class GroupLasso(Penalty):
    """λ Σ sqrt(|g|) ‖W_g‖₂ over groups g (Yuan and Lin, 2006).

    Its proximal operator in a metric D, with τ = step · λ · sqrt(|g|): the group is 0 where ‖D ⊙ W_g‖₂ ≤ τ, and
    otherwise W D θ / (D θ + τ) with the only θ > 0 that solves Σ W² / (θ + τ / D)² = 1, the new norm (Deleu and
    Bengio, "Structured Sparsity Inducing Adaptive Optimizers", arXiv 2102.03869).

    Args:
        weight: λ.
        block: so many adjacent channels are one group.

    Example:
        >>> import torch
        >>> GroupLasso(1.0).prox(torch.tensor([[[3.0, 4.0]], [[0.3, 0.4]]]), step=2.5 / 2**0.5)
        tensor([[[1.5000, 2.0000]],
        <BLANKLINE>
                [[0.0000, 0.0000]]])
    """

    name: ClassVar[str] = "group_lasso"

    @property
    def curve(self) -> tuple[float, float]:
        """See :attr:`Penalty.curve`."""
        return self.weight, float("inf")

    def value(self, weights: Tensor) -> Tensor:
        """λ Σ sqrt(|g|) ‖W_g‖₂ over the groups of ``weights``, ``(…, rows, columns)``; a scalar with a gradient."""
        return self.weight * root_size(weights) * torch.linalg.vector_norm(weights, dim=MEMBERS).sum()

    def prox(self, weights: Tensor, step: float | Tensor, metric: Tensor | None = None) -> Tensor:
        """See :meth:`Penalty.prox`."""
        rows = weights.detach().flatten(0, -3).flatten(1) if weights.ndim > 2 else weights.detach().reshape(1, -1)
        tau = torch.as_tensor(step * self.weight * root_size(weights), dtype=torch.float64, device=weights.device)
        D = None if metric is None else metric.detach().reshape(rows.shape)
        return shrink_step(rows, tau, D, axis="out")[0].view(weights.shape)

    def distance(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """‖∇ + λ sqrt(|g|) W / ‖W‖‖ of a live group, max(‖∇‖ − λ sqrt(|g|), 0) of a dead one."""
        price = self.weight * root_size(weights)
        norm = norms(weights)
        direction = weights / norm.clamp(min=torch.finfo(torch.float64).tiny)[..., None, None]
        return torch.where(norm > 0, norms(gradient + price * direction), (norms(gradient) - price).clamp(min=0))
