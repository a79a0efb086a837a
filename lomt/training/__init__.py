"""The training loop: recipe, stopping rules, seeds, resume."""

from lomt.training.checkpoints import CHECKPOINT, forget
from lomt.training.diverged import TrainingDivergedError
from lomt.training.fit import Fitted, fit
from lomt.training.history import METRICS, joined, spent
from lomt.training.progress import Progress, part_of
from lomt.training.recipe import Recipe
from lomt.training.seeds import seed_everything

__all__ = [
    "CHECKPOINT",
    "METRICS",
    "Fitted",
    "Progress",
    "Recipe",
    "TrainingDivergedError",
    "fit",
    "forget",
    "joined",
    "part_of",
    "seed_everything",
    "spent",
]
