"""Tailored multi-task networks by structured sparsity: learn what each task needs, build just that.

Everything is loaded when it is first used, so that ``import tailor`` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tailor import (
        balancing,
        compaction,
        data,
        diagnosis,
        evaluation,
        export,
        linear,
        methods,
        models,
        prediction,
        report,
        runs,
        selection,
        sparsity,
        tasks,
        training,
    )
    from tailor.compaction import compact
    from tailor.models import Network, taps
    from tailor.runs import lomt

__version__ = "0.1.0"

_ROOMS = (
    *("balancing", "compaction", "data", "diagnosis", "evaluation", "export", "linear", "methods", "models"),
    *("prediction", "report", "runs", "selection", "sparsity", "tasks", "training"),
)
_NAMES = {"Network": "models", "compact": "compaction", "lomt": "runs", "taps": "models"}

__all__ = [
    "Network",
    "balancing",
    "compact",
    "compaction",
    "data",
    "diagnosis",
    "evaluation",
    "export",
    "linear",
    "lomt",
    "methods",
    "models",
    "prediction",
    "report",
    "runs",
    "selection",
    "sparsity",
    "taps",
    "tasks",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"tailor.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"tailor.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'tailor' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
