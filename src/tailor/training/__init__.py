"""The training loop: recipe, stopping rules, seeds, resume."""

from tailor.training.atomic import write_atomically
from tailor.training.diverged import TrainingDivergedError
from tailor.training.fit import CHECKPOINT, Fitted, fit
from tailor.training.history import METRICS, joined
from tailor.training.progress import Progress, part_of
from tailor.training.recipe import Recipe
from tailor.training.seeds import seed_everything

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
