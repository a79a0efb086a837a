"""The training loop: recipe, stopping rules, seeds, resume."""

from lomt.training.atomic import write_atomically
from lomt.training.diverged import TrainingDivergedError
from lomt.training.fit import CHECKPOINT, Fitted, fit
from lomt.training.history import METRICS, joined
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
    "joined",
    "part_of",
    "seed_everything",
    "write_atomically",
]
