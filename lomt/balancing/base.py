"""What every balancing method is: many task losses in, one loss out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Balancing(nn.Module, ABC):
    """Turns the losses of several tasks into the one loss that is minimized.

    A balancing method is a module: what it learns is in ``parameters()`` and is trained beside the network's,
    what it remembers is in ``state_dict()`` and survives a restart.

    Args:
        tasks: names of the tasks whose losses will come.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        if not tasks:
            raise ValueError("balancing needs at least one task, got none")
        self.tasks = tuple(tasks)

    def forward(self, losses: Mapping[str, Tensor], priorities: Mapping[str, float] | None = None) -> Tensor:
        """One scalar loss.

        Args:
            losses: scalar losses of the tasks that have labels in this batch; others are absent and cost nothing.
            priorities: factors of the tasks' terms, 1 where none is given. They act after balancing, which would
                undo a factor of the loss itself where it evens out the scales of losses.
        """
        terms = self.terms(losses)
        return torch.stack([(priorities or {}).get(task, 1.0) * term for task, term in terms.items()]).sum()

    @abstractmethod
    def terms(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each task's part of the one loss, scalars."""

    @abstractmethod
    def weights(self) -> dict[str, float]:
        """The factor that each task's loss has at present."""

    def end_epoch(self) -> None:
        """Called once after every training epoch; most methods have nothing to do here."""
