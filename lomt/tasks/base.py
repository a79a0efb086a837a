"""What every task is: a name, the shape of its output, its loss, its metrics, its missing-label rule."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor
from torch.nn import ModuleDict

from lomt.checks import check_number, check_whole

if TYPE_CHECKING:
    from torchmetrics import Metric, MetricCollection


class Task(ABC):
    """One job of a network.

    A task knows everything about its target and nothing about networks: how many channels it needs, what its
    loss and metrics are, how raw outputs become predictions, and which labels are missing.

    Args:
        name: key of the task's label in a batch and of its output in the network's dict.
        channels: channels that the decoder must produce.
        weight: how much the task counts: factor of its loss after balancing.

    Attributes:
        dense: whether outputs are maps ``(N, channels, H, W)`` at the image's resolution; otherwise they are
            vectors ``(N, channels)``.
        higher_is_better: for every metric that :meth:`metrics` returns, the direction that is better.
        headline: the metrics that enter Δm, in order; the first one names the task in one figure.
        units: what a metric is measured in ("m", "°", "%"); a metric that is not named is a pure number.
    """

    dense: ClassVar[bool]
    higher_is_better: ClassVar[Mapping[str, bool]]
    headline: ClassVar[tuple[str, ...]]
    units: ClassVar[Mapping[str, str]] = {}

    def __init__(self, name: str, channels: int, weight: float = 1.0) -> None:
        if not name.isidentifier():
            raise ValueError(f"task name {name!r} is no identifier: use letters, digits and _")
        if name == "image" or hasattr(ModuleDict, name):
            raise ValueError(f"task name {name!r} is taken (by images, or by torch.nn.ModuleDict): use another")
        check_whole(f"the channels of task {name!r}", channels, 1)
        check_number(f"the weight of task {name!r}", weight)
        self.name = name
        self.channels = channels
        self.weight = weight

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean loss over the labels that are there, a scalar, not negative; 0 with a graph where none is.

        Args:
            output: what the decoder gave, ``(N, channels, H, W)`` for a dense task, else ``(N, channels)``.
            target: the label, as :meth:`check` wants it.
        """

    @abstractmethod
    def metrics(self) -> "MetricCollection | Metric":
        """New metrics over a whole split.

        ``update(output, target)`` for every batch, then ``compute()`` → dict of scalars.
        Missing labels count nowhere. ``output`` is the raw output of the decoder.
        """

    @abstractmethod
    def prediction(self, output: Tensor) -> Tensor:
        """What a user reads: class indices, metres, unit vectors, probabilities."""

    @abstractmethod
    def check(self, target: Tensor, where: str) -> None:
        """Raise ``ValueError`` where a label can't be true.

        Args:
            target: one sample's label, without the batch dimension.
            where: what to blame in the message, a file's path as a rule.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"
