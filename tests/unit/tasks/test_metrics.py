import torch
from torchmetrics import MeanMetric

from lomt.tasks.metrics import LabelledOnly


def test_metrics_that_agree_on_the_first_batch_may_part_later():
    """Left to itself, torchmetrics would merge the two for good."""
    metrics = LabelledOnly(lambda output, target: (output, target), {"one": MeanMetric(), "two": _Clipped()})
    for value in (1.0, 5.0):
        metrics.update(torch.tensor(value), torch.tensor(1.0))
    assert metrics.compute() == {"one": 3.0, "two": 1.5}


class _Clipped(MeanMetric):
    def update(self, value, weight):
        super().update(value.clamp(max=2), weight)
