"""The recipes that papers describe, as generators of resumable stages."""

from lomt.methods.add_task import add_task
from lomt.methods.experiment import METHODS, experiment
from lomt.methods.path import Path
from lomt.methods.refit import Refit
from lomt.methods.select import choose
from lomt.methods.setup import Setup
from lomt.methods.sparsify import Sparsify
from lomt.methods.stage import Method, Parallel, Preview, Result, Stage, follow
from lomt.methods.study import Study
from lomt.methods.train import BACKWARD, Train

__all__ = [
    "BACKWARD",
    "METHODS",
    "Method",
    "Parallel",
    "Path",
    "Preview",
    "Refit",
    "Result",
    "Setup",
    "Sparsify",
    "Stage",
    "Study",
    "Train",
    "add_task",
    "choose",
    "experiment",
    "follow",
]
