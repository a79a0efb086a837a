"""The metrics of the tasks, a file a kind, on torchmetrics; they see only what is labelled.

A task imports its own when it is asked for them: nothing here is needed to train or to run a network.
"""

from lomt.extras import need

need("a task's metrics", "train", "torchmetrics")

from lomt.tasks.metrics.labelled import LabelledOnly, SkipMissing

__all__ = ["LabelledOnly", "SkipMissing"]
