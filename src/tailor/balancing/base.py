"""What every balancing method is: many task losses in, one loss out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

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

    @abstractmethod
    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """One scalar loss.

        Args:
            losses: scalar losses of the tasks that have labels in this batch; others are absent and cost nothing.
        """

    @abstractmethod
    def weights(self) -> dict[str, float]:
        """The factor that each task's loss has at present."""

    def end_epoch(self) -> None:
        """Called once after every training epoch; most methods have nothing to do here."""
