"""What every penalty on groups of weights is: a value, a proximal operator, a distance to its subdifferential."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from lomt.sparsity.groups import total

# Makes the diagonal metric of a layer's weights, a new tensor of their shape: it is held for one layer at a time.
Metric = Callable[[], Tensor]


class Layer(NamedTuple):
    """What a proximal step works on.

    Attributes:
        weights: ``(blocks, channels, rows, columns)``; one group is ``[block, channel]``.
        step: the step size.
        metric: makes their metric; None is the identity.
        start: what the last proximal step returned for this layer; None at first.
        members: as how large the penalty takes a group, where weights of it that were 0 for good are not stored any
            more; None: as large as it is.
    """

    weights: Tensor
    step: float | Tensor
    metric: Metric | None = None
    start: Tensor | None = None
    members: int | None = None

    @property
    def root(self) -> float:
        """sqrt(|g|), by which the penalty weighs each group."""
        return root_size(self.weights) if self.members is None else float(self.members) ** 0.5


class Penalty(ABC):
    """Σ over groups of p(‖W_g‖₂), with a p that drives whole groups to exactly 0.

    Tensors of groups have any leading dimensions, one index for every group, and end with ``(rows, columns)``: the
    members of a group. A group of n members has the factor sqrt(n), so that λ means the same in all layers.

    A penalty of your own needs :meth:`value`, :meth:`prox` and :meth:`distance`; its attributes must be numbers,
    strings or booleans, because optimizers store them in their ``state_dict``.

    Args:
        weight: λ > 0, the price of a group's norm relative to the loss.
    """

    name: ClassVar[str]

    def __init__(self, weight: float) -> None:
        if not weight >= 0 or weight == float("inf"):
            raise ValueError(f"{type(self).__name__} has weight {weight}: λ must be a finite number of 0 or more")
        self.weight = weight

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

    def prox_(self, layers: Sequence[Layer]) -> list[Tensor]:
        """The proximal operator in place and on several layers at once, for optimizers.

        Args:
            layers: the weights, which are overwritten, and in which metric, with which step.

        Returns:
            What each layer's next proximal step starts from, ``(…, blocks, channels)``; zeros where a penalty has no
            use for that.
        """
        for layer in layers:
            weights, D = layer.weights, None if layer.metric is None else layer.metric()
            size = weights.shape[-2] * weights.shape[-1]
            missing = 0 if layer.members is None else layer.members - size
            if missing:
                # What is not stored is 0 and stays so in any metric.
                weights = F.pad(weights.flatten(-2), (0, missing))[..., None, :]
                D = None if D is None else F.pad(D.flatten(-2), (0, missing), value=1.0)[..., None, :]
            new = self.prox(weights, layer.step, D)
            layer.weights.copy_(new[..., 0, :size].reshape(layer.weights.shape) if missing else new)
        return [layer.weights.new_zeros(layer.weights.shape[:2]) for layer in layers]

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
