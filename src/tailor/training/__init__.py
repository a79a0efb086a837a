"""The training loop: recipe, stopping rules, seeds, resume."""

from tailor.training.atomic import write_atomically
from tailor.training.diverged import TrainingDivergedError
from tailor.training.fit import CHECKPOINT, Fitted, fit
from tailor.training.progress import Progress
from tailor.training.recipe import Recipe
from tailor.training.seeds import seed_everything

__all__ = [
    "CHECKPOINT",
    "Fitted",
    "Progress",
    "Recipe",
    "TrainingDivergedError",
    "fit",
    "seed_everything",
    "write_atomically",
]
