"""What is predicted: one file per kind of task."""

from tailor.tasks.base import Task
from tailor.tasks.checks import check_image, check_sample
from tailor.tasks.classification import Classification
from tailor.tasks.depth import Depth
from tailor.tasks.edges import Edges
from tailor.tasks.normals import Normals
from tailor.tasks.regression import Regression
from tailor.tasks.segmentation import Segmentation

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
