"""Semantic segmentation: the class of every pixel."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lomt.tasks.base import Task
from lomt.tasks.checks import check_form
from lomt.tasks.missing import full_precision, mean_where

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


class Segmentation(Task):
    """Class of every pixel; targets ``(N, H, W)`` int64, outputs logits ``(N, C, H, W)``.

    The loss is the cross-entropy, the mean over all labelled pixels of the batch. Metrics, both in [0, 1],
    from one confusion matrix of the whole split at label resolution: ``mIoU``, the mean of intersection over
    union over the classes that occur in truth or prediction, and ``pixel_accuracy``.

    Args:
        name: key of the label and of the output.
        classes: how many, or the classes' names.
        ignore_index: the id that means "no label"; it may not be one of the classes.
        weight: factor of the loss.

    Raises:
        ValueError: fewer than 2 classes, or an ignore index that is a class.

    Example:
        >>> task = Segmentation("seg", ["floor", "wall", "thing"])
        >>> task.channels, task.class_names
        (3, ('floor', 'wall', 'thing'))
    """

    dense: ClassVar[bool] = True
    higher_is_better: ClassVar[Mapping[str, bool]] = {"mIoU": True, "pixel_accuracy": True}
    headline: ClassVar[tuple[str, ...]] = ("mIoU",)

    def __init__(self, name: str, classes: int | Sequence[str], ignore_index: int = 255, weight: float = 1.0) -> None:
        self.class_names, count = class_names(classes)
        super().__init__(name, count, weight)
        if count < 2:
            raise ValueError(f"task {name!r} has {count} classes: segmentation needs 2 or more")
        if 0 <= ignore_index < count:
            raise ValueError(
                f"task {name!r} ignores {ignore_index}, which is one of its classes 0 … {count - 1}: choose "
                f"an ignore_index outside of them"
            )
        self.ignore_index = ignore_index

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self.channels

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy over labelled pixels, in nats."""
        valid = target != self.ignore_index
        entropy = F.cross_entropy(full_precision(output), target, ignore_index=self.ignore_index, reduction="none")
        return mean_where(entropy, valid)

    def metrics(self) -> "MetricCollection":
        """``mIoU`` and ``pixel_accuracy`` over a whole split."""
        from lomt.tasks.metrics.segmentation import segmentation

        return segmentation(self.prediction, self.channels, self.ignore_index)

    def prediction(self, output: Tensor) -> Tensor:
        """Class indices ``(N, H, W)``."""
        return _ids(output)

    def check(self, target: Tensor, where: str) -> None:
        """Raise where ids are neither classes nor the ignore index."""
        check_form(target, where, torch.int64, (None, None))
        wrong = ((target < 0) | (target >= self.channels)) & (target != self.ignore_index)
        if bool(wrong.any()):
            ids = sorted({int(i) for i in target[wrong].tolist()})
            shown = ", ".join(map(str, ids[:5])) + (", …" if len(ids) > 5 else "")
            raise ValueError(
                f"{where}: class id {shown} out of range 0 … {self.channels - 1} (ignore index "
                f"{self.ignore_index}) – map these ids, or give task {self.name!r} more classes"
            )


def class_names(classes: int | Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Names and number of classes; where only the number is known, a class is called by its id."""
    if isinstance(classes, int):
        return tuple(map(str, range(classes))), classes
    if isinstance(classes, str):
        raise TypeError(f"classes={classes!r} is one text: give a number or a list of names")
    return tuple(classes), len(classes)


def _ids(output: Tensor) -> Tensor:
    # max, not argmax: the same indices, several times faster over the channels of contiguous maps.
    return output.max(1).indices
