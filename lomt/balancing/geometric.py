"""The geometric mean of the losses: no task is louder for the scale of its loss."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lomt.balancing.base import Balancing

SMALLEST = 1e-8
"""Losses below this are perfect; a logarithm would chase them for ever."""
ROUNDING = 1e-6
"""A perfect loss may come out negative by this much."""


class Geometric(Balancing):
    """Σ log Lₜ: each gradient is divided by its own loss, so that a loss times 1000 trains the same network.

    The geometric loss strategy of Chennupati, Sistu, Yogamani, Rawashdeh, "MultiNet++" (CVPR workshops 2019, arXiv
    1904.08492), as a logarithm: the same minima, without a product of many factors. It's uncertainty weighting at its
    end, too: the least of exp(−s) L + s over s is 1 + log L, but a learned s takes thousands of steps to come there.

    >>> Geometric(["seg", "depth"])({"seg": torch.tensor(2.0), "depth": torch.tensor(0.5)}).item()
    0.0
    """

    total: Tensor
    batches: Tensor
    least: Tensor

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.register_buffer("total", torch.zeros(len(tasks)))
        self.register_buffer("batches", torch.zeros(len(tasks)))
        self.register_buffer("least", torch.zeros(len(tasks)), persistent=False)

    def terms(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logarithms of the losses; in training, remembers the losses for weights.

        Raises:
            ValueError: a loss is negative; on a GPU, that is said by :meth:`weights`, since a look waits for it.
        """
        values = torch.stack(list(losses.values()))
        for task, value in zip(losses, values.detach().unbind(), strict=True):
            row = self.tasks.index(task)
            self.least[row] = torch.minimum(self.least[row], value.to(self.least))
            if self.training:
                self.total[row] += value.to(self.total)
                self.batches[row] += 1
        if values.device.type == "cpu":
            self._check()
        return dict(zip(losses, values.clamp(min=SMALLEST).log(), strict=True))

    def weights(self) -> dict[str, float]:
        """1 / the mean loss of the epoch so far; 1 for a task without a label in it.

        Raises:
            ValueError: a loss was negative.
        """
        self._check()
        means = torch.where(self.batches > 0, self.total / self.batches, 1.0)
        return dict(zip(self.tasks, (1 / means.clamp(min=SMALLEST)).tolist(), strict=True))

    def end_epoch(self) -> None:
        """Start the epoch's mean anew."""
        self.total.zero_()
        self.batches.zero_()

    def _check(self) -> None:
        least = self.least.tolist()
        if min(least) < -ROUNDING:
            self.least.zero_()
            raise ValueError(
                f"the loss of {self.tasks[least.index(min(least))]} is {min(least):.3g}: geometric balancing takes "
                "logarithms, so no loss may be negative; use recipe.balancing uncertainty or equal"
            )
