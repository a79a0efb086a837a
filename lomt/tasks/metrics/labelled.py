"""What the metrics of all tasks share: they see only what is labelled."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torchmetrics import Metric, MetricCollection

Prepare = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Predict = Callable[[Tensor], Tensor]
"""Raw output → what a user reads."""


class LabelledOnly(MetricCollection):
    """Metrics that are updated with raw outputs and raw targets, but see what ``prepare`` makes of them.

    Args:
        prepare: ``(output, target)`` → ``(prediction, target)`` without missing labels, as the metrics want
            them.
        metrics: name → metric. A metric over no label at all should be NaN.

    Metrics of one collection never share states: torchmetrics would merge two thresholds of one kind for good
    if they agreed on the first batch.
    """

    def __init__(self, prepare: Prepare, metrics: Mapping[str, Metric]) -> None:
        super().__init__(dict(metrics), compute_groups=False)
        self.prepare = prepare

    def update(self, output: Tensor, target: Tensor) -> None:  # type: ignore[override]
        """Take one batch in."""
        super().update(*self.prepare(output, target))

    def forward(self, output: Tensor, target: Tensor) -> dict[str, Any]:
        """Take one batch in and return the metrics of this batch alone."""
        return dict(super().forward(*self.prepare(output, target)))

    def compute(self) -> dict[str, Any]:
        """The metrics of all batches; NaN, without a warning, where there was no label at all."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The ``compute`` method of metric")
            return dict(super().compute())


class SkipMissing:
    """Mixed in before a torchmetrics class, it takes out the elements whose truth is NaN."""

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Take in what is labelled of one batch."""
        valid = truth.isfinite()
        super().update(prediction[valid], truth[valid])  # type: ignore[misc]
