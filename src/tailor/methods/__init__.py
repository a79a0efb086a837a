"""The recipes that papers describe, as generators of resumable stages."""

from tailor.methods.path import Path
from tailor.methods.refit import Refit
from tailor.methods.select import choose
from tailor.methods.sparsify import Sparsify
from tailor.methods.stage import Method, Preview, Result, Stage
from tailor.methods.study import Study
from tailor.methods.train import BACKWARD, Train
from tailor.methods.whole import METHODS, whole
from tailor.methods.workshop import Workshop

__all__ = [
    "BACKWARD",
    "METHODS",
    "Method",
    "Path",
    "Preview",
    "Refit",
    "Result",
    "Sparsify",
    "Stage",
    "Study",
    "Train",
    "Workshop",
    "choose",
    "whole",
]
