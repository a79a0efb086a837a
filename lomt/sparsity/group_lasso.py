"""The group lasso, ℓ1/ℓ2: the penalty of LOMT."""

from collections.abc import Sequence
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from lomt.sparsity.groups import MEMBERS, Axis
from lomt.sparsity.penalty import Layer, Penalty, norms, root_size
from lomt_kernels.shrink import shrink_step

# Norms go on changing as they did: Adam's own β₁, as a rule.
MOMENTUM = 0.9


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
        self.prox_([Layer(new, step, None if flat is None else flat.clone)])
        return new.view(weights.shape)

    def prox_(self, layers: Sequence[Layer]) -> list[Tensor]:
        """See :meth:`Penalty.prox_`; what a layer starts from are its norms, and by how much they changed."""
        return [self._step_(layer) for layer in layers]

    def _step_(self, layer: Layer) -> Tensor:
        groups = layer.weights.shape[:2]
        if self.weight == 0:
            return layer.weights.new_zeros(2, *groups)
        weight, axis = _as_weight(layer.weights)
        metric = None if layer.metric is None else _as_weight(layer.metric())[0]
        tau = torch.as_tensor(layer.step * self.weight * layer.root, dtype=torch.float64, device=weight.device)
        start = None if layer.start is None else _guess(*layer.start.flatten(1))
        shrunk, norms = shrink_step(weight, tau, metric, start, axis=axis, groups=groups[0] if axis == "in" else 1)
        weight.copy_(shrunk)
        change = torch.zeros_like(norms) if layer.start is None else norms - layer.start[0].flatten()
        return torch.stack([norms, change]).unflatten(1, groups)

    def distance(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """‖∇ + λ sqrt(|g|) W / ‖W‖‖ of a live group, max(‖∇‖ − λ sqrt(|g|), 0) of a dead one."""
        price = self.weight * root_size(weights)
        norm = norms(weights)
        direction = weights / norm.clamp(min=torch.finfo(torch.float64).tiny)[..., None, None]
        return torch.where(norm > 0, norms(gradient + price * direction), (norms(gradient) - price).clamp(min=0))


def _as_weight(groups: Tensor) -> tuple[Tensor, Axis]:
    """Groups ``(blocks, channels, rows, columns)`` as a convolution's weight, a view, and the axis that they are of."""
    blocks, channels, *members = groups.shape
    together = groups.stride(1) == prod(members) and (blocks == 1 or groups.stride(0) == channels * groups.stride(1))
    if together:
        return groups.view(-1, *members, 1), "out"
    rows = groups.transpose(1, 2)
    # view, never flatten: a copy would not reach the weight.
    return rows.view(-1, *rows.shape[2:], 1), "in"


def _guess(norms: Tensor, change: Tensor) -> Tensor:
    """What norms will be if they go on changing as they did."""
    ahead = torch.add(norms, change, alpha=MOMENTUM)
    return torch.where(ahead > 0, ahead, norms)
