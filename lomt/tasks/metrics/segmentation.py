"""mIoU and pixel accuracy, from one confusion matrix of the whole split."""

from functools import partial

from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix

from lomt.tasks.metrics.labelled import LabelledOnly, Predict


def segmentation(predict: Predict, classes: int, ignore_index: int) -> MetricCollection:
    """``mIoU`` and ``pixel_accuracy``."""
    return LabelledOnly(partial(_predicted, predict), {"confusion": _Confusion(classes, ignore_index)})


class _Confusion(MulticlassConfusionMatrix):
    """torchmetrics' confusion matrix, read as mIoU and pixel accuracy; NaN where no pixel was labelled."""

    def __init__(self, classes: int, ignore_index: int) -> None:
        super().__init__(num_classes=classes, ignore_index=ignore_index, validate_args=False)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        counts = self.confmat
        hits = counts.diagonal()
        union = counts.sum(0) + counts.sum(1) - hits
        return {
            "mIoU": (hits / union)[union > 0].mean(),
            "pixel_accuracy": hits.sum() / counts.sum(),
        }


def _predicted(predict: Predict, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return predict(output), target
