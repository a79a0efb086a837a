"""Classification: one class, or several yes-or-no labels, for a whole image."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lomt.tasks.base import Task
from lomt.tasks.checks import check_form
from lomt.tasks.missing import NO_CLASS, full_precision, mean_where
from lomt.tasks.segmentation import class_names

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


class Classification(Task):
    """One class an image, or several labels; outputs logits ``(N, C)``.

    Single: targets ``(N,)`` int64, −1 where missing; cross-entropy; metric ``accuracy``.
    Multi-label: targets ``(N, C)`` float32 0 or 1, NaN where missing; binary cross-entropy with logits, the
    mean over all labels that are there; metrics ``accuracy`` and ``F1`` at a probability of ½, and ``AUC``
    (area under the ROC curve, exact), each the mean over the labels for which it is defined: accuracy needs a
    known truth, F1 a positive in truth or prediction, AUC both kinds.

    Args:
        name: key of the label and of the output.
        classes: how many classes or labels, or their names.
        multilabel: whether an image may have any number of them.
        weight: factor of the loss.
    """

    dense: ClassVar[bool] = False
    higher_is_better: ClassVar[Mapping[str, bool]] = {"accuracy": True, "F1": True, "AUC": True}
    headline: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __init__(self, name: str, classes: int | Sequence[str], multilabel: bool = False, weight: float = 1.0) -> None:
        self.class_names, count = class_names(classes)
        super().__init__(name, count, weight)
        if count < (1 if multilabel else 2):
            raise ValueError(f"task {name!r} has {count} classes: use 2 or more, or multilabel=True")
        self.multilabel = multilabel

    @property
    def classes(self) -> int:
        """How many classes or labels there are."""
        return self.channels

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean (binary) cross-entropy over the labels that are there, in nats."""
        raw = full_precision(output)
        if not self.multilabel:
            entropy = F.cross_entropy(raw, target, ignore_index=NO_CLASS, reduction="none")
            return mean_where(entropy, target != NO_CLASS)
        valid = target.isfinite()
        truth = torch.where(valid, target, 0.0).to(raw.dtype)
        return mean_where(F.binary_cross_entropy_with_logits(raw, truth, reduction="none"), valid)

    def metrics(self) -> "MetricCollection":
        """``accuracy``, for several labels also ``F1`` and ``AUC``, over a whole split."""
        from lomt.tasks.metrics.classification import classification

        return classification(self.channels if self.multilabel else None)

    def prediction(self, output: Tensor) -> Tensor:
        """Class indices ``(N,)``; for several labels their probabilities ``(N, C)``."""
        return full_precision(output).sigmoid() if self.multilabel else output.argmax(1)

    def check(self, target: Tensor, where: str) -> None:
        """Raise where a class is out of range, or a label neither 0 nor 1."""
        if self.multilabel:
            check_form(target, where, torch.float32, (self.channels,))
            wrong = (target != 0) & (target != 1) & ~target.isnan()
            if bool(wrong.any()):
                raise ValueError(
                    f"{where}: label {float(target[wrong][0]):g} for "
                    f"{self.class_names[int(wrong.nonzero()[0])]!r}, expected 0 or 1: set missing ones to NaN"
                )
            return
        check_form(target, where, torch.int64, ())
        if target != NO_CLASS and not 0 <= int(target) < self.channels:
            raise ValueError(
                f"{where}: class id {int(target)} out of range 0 … {self.channels - 1} (missing: {NO_CLASS}) "
                f"– map it, or give task {self.name!r} more classes"
            )
