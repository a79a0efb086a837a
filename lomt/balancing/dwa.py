"""Dynamic weight averaging: more weight for the tasks whose loss falls slowest."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lomt.balancing.base import Balancing
from lomt.checks import check_number


class DWA(Balancing):
    """Σ wₜ Lₜ, w = T·softmax(rₜ / temperature), rₜ the ratio of the task's mean losses of the last two epochs.

    After Liu, Johns, Davison (CVPR 2019), eq. 7; uniform in the first two epochs. TorchJD's ``DWA`` computes the
    same, but forgets its history at a restart and can't do without a task in a batch.
    """

    total: Tensor
    batches: Tensor
    means: Tensor

    def __init__(self, tasks: Sequence[str], temperature: float = 2.0) -> None:
        super().__init__(tasks)
        check_number("the temperature of DWA", temperature, zero=False)
        self.temperature = temperature
        self.register_buffer("total", torch.zeros(len(tasks)))
        self.register_buffer("batches", torch.zeros(len(tasks)))
        self.register_buffer("means", torch.full((2, len(tasks)), torch.nan))  # epoch before last, last epoch

    def terms(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """wₜ Lₜ; remembers the losses for the next epochs' weights."""
        rows = [self.tasks.index(task) for task in losses]
        values = torch.stack(list(losses.values()))
        if self.training:
            self.total[rows] += values.detach().to(self.total)
            self.batches[rows] += 1
        return dict(zip(losses, self._weights()[rows].to(values) * values, strict=True))

    def end_epoch(self) -> None:
        """Turn the epoch's sums into a mean (NaN for a task without a label) and start anew."""
        self.means = torch.stack([self.means[1], self.total / self.batches])
        self.total.zero_()
        self.batches.zero_()

    def weights(self) -> dict[str, float]:
        """The weights in use; they sum to the number of tasks."""
        return dict(zip(self.tasks, self._weights().tolist(), strict=True))

    def _weights(self) -> Tensor:
        ratios = self.means[1] / self.means[0]
        # A task without history falls neither faster nor slower than the others.
        ratios = torch.where(ratios.isfinite(), ratios, torch.ones_like(ratios))
        return len(self.tasks) * torch.softmax(ratios / self.temperature, dim=0)
