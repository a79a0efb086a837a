"""Equal weighting: the plain sum."""

from collections.abc import Mapping

from torch import Tensor

from lomt.balancing.base import Balancing


class Equal(Balancing):
    """Σ Lₜ over the tasks that are there.

    >>> import torch
    >>> Equal(["seg", "depth"])({"seg": torch.tensor(1.0), "depth": torch.tensor(2.0)})
    tensor(3.)
    """

    def terms(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses themselves."""
        return dict(losses)

    def weights(self) -> dict[str, float]:
        """One for every task."""
        return dict.fromkeys(self.tasks, 1.0)
