"""When a sparse network has stopped changing: sparsity that stands still, once it has begun."""

from collections import deque
from typing import Any


class Stabilized:
    """True when sparsity has moved by less than ``change`` over ``patience`` epochs.

    Epochs before the first dead group don't count: a run is not stable at 0 %, it has not begun.

    Args:
        change: how far the largest and the smallest sparsity of the last epochs may be apart, as a share (0.001
            is LOMT's 0.1 points).
        patience: over how many epochs.

    Raises:
        ValueError: an impossible change or patience.

    Example:
        >>> stable = Stabilized(change=0.001, patience=2)
        >>> [stable(sparsity) for sparsity in (0.0, 0.0, 0.0, 0.5, 0.5, 0.5)]
        [False, False, False, False, False, True]
    """

    def __init__(self, change: float = 0.001, patience: int = 30) -> None:
        if not change > 0:
            raise ValueError(f"change={change}: use a share above 0, such as 0.001")
        if patience < 1:
            raise ValueError(f"patience={patience}: use at least 1 epoch")
        self.change = change
        self.patience = patience
        self._last: deque[float] = deque(maxlen=patience + 1)

    def __call__(self, sparsity: float) -> bool:
        """Take one epoch's sparsity, from 0 to 1, and say whether it has stabilized.

        Raises:
            ValueError: it's no share.
        """
        if not 0 <= sparsity <= 1:
            raise ValueError(f"sparsity {sparsity} is no share: give dead groups / groups, from 0 to 1")
        if self._last or sparsity > 0:
            self._last.append(float(sparsity))
        full = len(self._last) > self.patience
        return full and max(self._last) - min(self._last) < self.change

    def state_dict(self) -> dict[str, Any]:
        """What has been seen, for resuming."""
        return {"last": list(self._last)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._last = deque(state["last"], maxlen=self.patience + 1)
