"""What every penalty on groups of weights is: a value, a proximal operator, a distance to its subdifferential."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from lomt.sparsity.groups import total


class Penalty(ABC):
    """Σ over groups of p(‖W_g‖₂), with a p that drives whole groups to exactly 0.

    Tensors of groups have any leading dimensions, one index for every group, and end with ``(rows, columns)``: the
    members of a group. A group of n members has the factor sqrt(n), so that λ means the same in all layers.

    A penalty of your own needs :meth:`value`, :meth:`prox` and :meth:`distance`; its attributes must be numbers,
    strings or booleans, because optimizers store them in their ``state_dict``.

    Args:
        weight: λ ≥ 0, the price of a group's norm relative to the loss.
        block: so many adjacent channels are one group.

    Raises:
        ValueError: λ or the block is impossible.
    """

    name: ClassVar[str]

    def __init__(self, weight: float, block: int = 1) -> None:
        self.weight, self.block = weight, block
        self.check()

    def check(self) -> None:
        """Look at the numbers, which may be set as training goes.

        Raises:
            ValueError: λ or the block is impossible.
        """
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"{type(self).__name__} has weight {self.weight}: λ must be a finite number of 0 or more")
        if not isinstance(self.block, int) or self.block < 1:
            raise ValueError(f"{type(self).__name__} has block {self.block}: a group has 1 channel or more")

    @property
    def curve(self) -> tuple[float, float] | None:
        """(λ, γ), where p(t) = λt − t² / (2γ) up to γλ, and flat from there on: what fused steps know.

        An infinite γ is a straight line. None: p is something else, and optimizers call :meth:`prox`.
        """
        return None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "prox" in vars(cls) and "curve" not in vars(cls):
            # Whoever has a proximal operator of their own gets it called.
            cls.curve = property(lambda _: None)  # type: ignore[assignment]

    @abstractmethod
    def value(self, weights: Tensor) -> Tensor:
        """The penalty, a scalar: its sum over all groups of ``weights``, ``(…, rows, columns)``."""

    @abstractmethod
    def prox(self, weights: Tensor, step: float | Tensor, metric: Tensor | None = None) -> Tensor:
        """The U that minimizes ½ Σ metric · (U − weights)² + step · penalty(U).

        Args:
            weights: ``(…, rows, columns)``, the point after the gradient step.
            step: the step size, positive.
            metric: the positive diagonal of the metric, of the shape of ``weights``; None is the identity.

        Returns:
            The minimizer, a new tensor of the same shape; a group that dies is exactly 0.
        """

    @abstractmethod
    def distance(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """How far ``weights`` is from optimal: the distance of −gradient to the penalty's subdifferential.

        Returns:
            A number a group, of the leading dimensions of ``weights``; 0 at a stationary point of
            loss + penalty.
        """

    def state_dict(self) -> dict[str, Any]:
        """Name and numbers, ready for JSON and ``torch.load(weights_only=True)``."""
        return {"name": type(self).name, **vars(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the numbers of :meth:`state_dict` over.

        Raises:
            ValueError: they're another penalty's.
        """
        if set(state) != set(self.state_dict()) or state["name"] != type(self).name:
            raise ValueError(f"{state} is no state of {self!r}: load it into an optimizer with that penalty")
        vars(self).update({key: value for key, value in state.items() if key != "name"})

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]  # λ may change while it is used

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value:g}' for key, value in vars(self).items())})"


def root_size(weights: Tensor) -> float:
    """sqrt(|g|): the square root of the number of members of each group."""
    return float(weights.shape[-2] * weights.shape[-1]) ** 0.5


def norms(weights: Tensor) -> Tensor:
    """‖W_g‖₂ of every group, in float64, of the leading dimensions of ``weights``."""
    return total(weights.double().square()).sqrt()
