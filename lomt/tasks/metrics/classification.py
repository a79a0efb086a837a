"""Accuracy of one class an image; accuracy, F1 and AUC of several labels."""

import torch
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MultilabelAUROC, MultilabelStatScores
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat

from lomt.tasks.metrics.labelled import LabelledOnly
from lomt.tasks.missing import NO_CLASS, full_precision


def classification(labels: int | None) -> MetricCollection:
    """``accuracy`` of one class an image; of several ``labels`` also ``F1`` and ``AUC``."""
    if labels is None:
        return LabelledOnly(_hits, {"accuracy": MeanMetric(nan_strategy="disable")})
    return LabelledOnly(_probabilities, {"scores": _LabelScores(labels), "AUC": _LabelAUC(labels)})


class _LabelScores(MultilabelStatScores):
    """torchmetrics' counts for each label, read as the mean accuracy and the mean F1 of labels."""

    def __init__(self, labels: int) -> None:
        super().__init__(num_labels=labels, average=None, ignore_index=NO_CLASS, validate_args=False)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        hits, false_alarms, rejections, misses, _ = super().compute().reshape(self.num_labels, 5).T
        known = hits + false_alarms + rejections + misses
        positives = 2 * hits + false_alarms + misses
        return {
            "accuracy": ((hits + rejections) / known)[known > 0].mean(),
            "F1": (2 * hits / positives)[positives > 0].mean(),
        }


class _LabelAUC(MultilabelAUROC):
    """torchmetrics' exact area under the ROC curve, the mean of the labels that have both kinds."""

    def __init__(self, labels: int) -> None:
        super().__init__(num_labels=labels, average=None, ignore_index=NO_CLASS, validate_args=False)

    def compute(self) -> Tensor:  # type: ignore[override]
        if not self.preds:
            return torch.full((), torch.nan, device=self.device)
        probabilities, truth = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        areas = []
        for probability, label in zip(probabilities.T, truth.T, strict=True):
            valid = label >= 0
            if label[valid].unique().numel() == 2:
                areas.append(binary_auroc(probability[valid], label[valid], validate_args=False))
        return torch.stack(areas).mean() if areas else torch.full((), torch.nan, device=probabilities.device)


def _hits(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Right or wrong, and 1 for a weight, of the images that have a label."""
    valid = target != NO_CLASS
    hits = (output.argmax(1) == target)[valid].float()
    return hits, torch.ones_like(hits)


def _probabilities(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return full_precision(output).sigmoid(), torch.where(target.isfinite(), target, NO_CLASS).long()
