"""The group lasso, ℓ1/ℓ2: the penalty of LOMT."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lomt.sparsity.penalty import Layer, Penalty, norms, root_size
from lomt.sparsity.pieces import MEMBERS
from lomt.sparsity.secular import shrink_


class GroupLasso(Penalty):
    """λ Σ sqrt(|g|) ‖W_g‖₂ over groups g (Yuan and Lin, 2006).

    Its proximal operator in a metric D, with τ = step · λ · sqrt(|g|): the group is 0 where ‖D ⊙ W_g‖₂ ≤ τ, and
    otherwise W D θ / (D θ + τ) with the only θ > 0 that solves Σ W² / (θ + τ / D)² = 1, the new norm (Deleu and
    Bengio, "Structured Sparsity Inducing Adaptive Optimizers", arXiv 2102.03869).

    Args:
        weight: λ.

    Example:
        >>> import torch
        >>> GroupLasso(1.0).prox(torch.tensor([[[3.0, 4.0]], [[0.3, 0.4]]]), step=2.5 / 2**0.5)
        tensor([[[1.5000, 2.0000]],
        <BLANKLINE>
                [[0.0000, 0.0000]]])
    """

    name: ClassVar[str] = "group_lasso"

    def value(self, weights: Tensor) -> Tensor:
        """λ Σ sqrt(|g|) ‖W_g‖₂ over the groups of ``weights``, ``(…, rows, columns)``; a scalar with a gradient."""
        return self.weight * root_size(weights) * torch.linalg.vector_norm(weights, dim=MEMBERS).sum()

    def prox(self, weights: Tensor, step: float | Tensor, metric: Tensor | None = None) -> Tensor:
        """See :meth:`Penalty.prox`."""
        rows, columns = weights.shape[-2:]
        new = weights.detach().clone(memory_format=torch.contiguous_format).view(1, -1, rows, columns)
        flat = None if metric is None else metric.detach().reshape(new.shape)
        self.prox_([Layer(new, step, None if flat is None else lambda cut: cut(flat).clone())])
        return new.view(weights.shape)

    def prox_(self, layers: Sequence[Layer]) -> list[Tensor]:
        """See :meth:`Penalty.prox_`; all layers have a metric, or none has."""
        prices = [self.weight * layer.root for layer in layers]
        if all(layer.metric is not None for layer in layers) and self.weight > 0:
            return shrink_(layers, prices)
        for layer, price in zip(layers, prices, strict=True):
            _scale(layer.weights, layer.step * price)
        return [layer.weights.new_zeros(layer.weights.shape[:2]) for layer in layers]

    def distance(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """‖∇ + λ sqrt(|g|) W / ‖W‖‖ of a live group, max(‖∇‖ − λ sqrt(|g|), 0) of a dead one."""
        price = self.weight * root_size(weights)
        norm = norms(weights)
        direction = weights / norm.clamp(min=torch.finfo(torch.float64).tiny)[..., None, None]
        return torch.where(norm > 0, norms(gradient + price * direction), (norms(gradient) - price).clamp(min=0))


def _scale(weights: Tensor, threshold: float | Tensor) -> None:
    """The proximal operator in the identity metric, in place: W · max(1 − τ / ‖W‖, 0)."""
    norm = norms(weights)
    new = (norm - threshold).clamp_(min=0)
    weights.mul_(torch.where(new > 0, new / norm, 0.0).to(weights.dtype)[..., None, None])
