"""What is predicted: one file per kind of task."""

from lomt.tasks.base import Task
from lomt.tasks.checks import check_image, check_sample
from lomt.tasks.classification import Classification
from lomt.tasks.depth import Depth
from lomt.tasks.edges import Edges
from lomt.tasks.normals import Normals
from lomt.tasks.regression import Regression
from lomt.tasks.segmentation import Segmentation

TASKS: dict[str, type[Task]] = {
    "segmentation": Segmentation,
    "depth": Depth,
    "normals": Normals,
    "edges": Edges,
    "classification": Classification,
    "regression": Regression,
}
"""Every built-in kind by its name; a subclass of :class:`Task` from anywhere works as well."""

__all__ = ["TASKS", "Task", "check_image", "check_sample", *(kind.__name__ for kind in TASKS.values())]
