"""The sparse-group lasso: a whole weight may die, and groups in those that live."""

from typing import ClassVar

import torch
from torch import Tensor

from lomt.sparsity.group_lasso import GroupLasso
from lomt.sparsity.groups import MEMBERS
from lomt.sparsity.penalty import Penalty, norms, root_size


class SparseGroupLasso(Penalty):
    """λ ((1 − mix) sqrt(|W|) ‖W‖₂ + mix Σ sqrt(|g|) ‖W_g‖₂) over the groups g of a weight W, and W as a whole.

    Simon, Friedman, Hastie and Tibshirani, "A Sparse-Group Lasso" (2013), with groups of weights in the place of single
    ones: what is not worth having dies as a whole, and of the rest the groups that add nothing.

    The two norms are nested, and the proximal operator in a multiple of the identity is that of the groups and then
    that of the whole (Jenatton et al., "Proximal Methods for Hierarchical Sparse Coding", 2011). In a diagonal metric
    it is not, so the mean of the metric stands for it.

    Args:
        weight: λ.
        mix: share of the groups' own price, from 0 (the whole alone) to 1 (:class:`GroupLasso`).
        block: so many adjacent channels are one group.

    Raises:
        ValueError: λ or the share is impossible.

    Example:
        >>> W = torch.tensor([[[3.0, 4.0]], [[0.3, 0.4]]])
        >>> SparseGroupLasso(1.0, mix=0.5).prox(W, step=2 / 2**0.5)
        tensor([[[1.5515, 2.0686]],
        <BLANKLINE>
                [[0.0000, 0.0000]]])
        >>> SparseGroupLasso(1.0, mix=0.5).prox(W, step=4).any()
        tensor(False)
    """

    name: ClassVar[str] = "sparse_group_lasso"

    def __init__(self, weight: float, mix: float = 0.5, block: int = 1) -> None:
        self.mix = mix
        super().__init__(weight, block)

    def check(self) -> None:
        """See :meth:`Penalty.check`."""
        super().check()
        if not 0 <= self.mix <= 1:
            raise ValueError(f"SparseGroupLasso has mix {self.mix}: use a share from 0 to 1")

    def value(self, weights: Tensor) -> Tensor:
        """The penalty of one weight, ``(…, rows, columns)``; a scalar with a gradient."""
        groups = torch.linalg.vector_norm(weights, dim=MEMBERS).sum()
        whole = torch.linalg.vector_norm(weights)
        return self.weight * ((1 - self.mix) * weights.numel() ** 0.5 * whole + self.mix * root_size(weights) * groups)

    def prox(self, weights: Tensor, step: float | Tensor, metric: Tensor | None = None) -> Tensor:
        """See :meth:`Penalty.prox`; of the metric, the mean counts."""
        if metric is not None:
            step = step / metric.mean()
        within = GroupLasso(self.mix * self.weight).prox(weights, step)
        price = torch.as_tensor(step, dtype=torch.float64, device=weights.device) * self._whole(weights)
        norm = torch.linalg.vector_norm(within.double())
        # A norm that is no number must not look dead.
        return torch.where(norm <= price, 0.0, within * (1 - price / norm).to(within.dtype)).to(within.dtype)

    def distance(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """See :meth:`Penalty.distance`; of a weight that is dead as a whole, each group's share of the distance."""
        of_group, of_whole = self.mix * self.weight * root_size(weights), self._whole(weights)
        norm, tiny = norms(weights), torch.finfo(torch.float64).tiny
        whole = torch.linalg.vector_norm(norm)
        beyond = (norms(gradient) - of_group).clamp(min=0)
        if not whole > 0:
            reach = torch.linalg.vector_norm(beyond)
            return beyond * (1 - of_whole / reach.clamp(min=tiny)).clamp(min=0)
        slope = of_group / norm.clamp(min=tiny) + of_whole / whole
        live = norms(gradient + slope[..., None, None] * weights)
        return torch.where(norm > 0, live, beyond)

    def _whole(self, weights: Tensor) -> float:
        return float(self.weight * (1 - self.mix) * weights.numel() ** 0.5)
