"""Uncertainty weighting: a learned log-variance for each task."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lomt.balancing.base import Balancing


class Uncertainty(Balancing):
    """Σ exp(−sₜ) Lₜ + sₜ with one learned sₜ a task.

    After Kendall, Gal, Cipolla (CVPR 2018), in the form and with the start s₀ = 1 of LOMT (arXiv 2406.03048).
    A task that is absent from a batch leaves its sₜ alone.

    >>> import torch
    >>> Uncertainty(["seg"], start=0.0)({"seg": torch.tensor(2.0)}).item()
    2.0
    """

    def __init__(self, tasks: Sequence[str], start: float = 1.0) -> None:
        super().__init__(tasks)
        if not math.isfinite(start):
            raise ValueError(f"the start of uncertainty weighting is {start}: use a finite number")
        self.log_variance = nn.ParameterDict({task: nn.Parameter(torch.tensor(float(start))) for task in tasks})

    def terms(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """exp(−sₜ) Lₜ + sₜ."""
        return {
            task: torch.exp(-self.log_variance[task]) * loss + self.log_variance[task] for task, loss in losses.items()
        }

    def weights(self) -> dict[str, float]:
        """exp(−sₜ)."""
        return {task: float(torch.exp(-self.log_variance[task].detach())) for task in self.tasks}
