"""One network for several tasks, each task with just what it needs: LOMT, from data to report.

Everything is loaded when it is first used, so that ``import lomt`` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lomt_kernels import __version__ as __version__

if TYPE_CHECKING:
    from lomt import (
        balancing,
        compaction,
        data,
        diagnosis,
        evaluation,
        export,
        linear,
        llm,
        methods,
        models,
        nn,
        optim,
        prediction,
        report,
        runs,
        selection,
        sparsity,
        tasks,
        training,
    )
    from lomt.compaction import compact
    from lomt.methods import add_task
    from lomt.models import Network, taps
    from lomt.runs import run

_ROOMS = (
    *("balancing", "compaction", "data", "diagnosis", "evaluation", "export", "linear", "llm", "methods", "models"),
    *("nn", "optim", "prediction", "report", "runs", "selection", "sparsity", "tasks", "training"),
)
_NAMES = {
    "Network": "models",
    "add_task": "methods",
    "compact": "compaction",
    "run": "runs",
    "taps": "models",
}

__all__ = [
    "Network",
    "add_task",
    "balancing",
    "compact",
    "compaction",
    "data",
    "diagnosis",
    "evaluation",
    "export",
    "linear",
    "llm",
    "methods",
    "models",
    "nn",
    "optim",
    "prediction",
    "report",
    "run",
    "runs",
    "selection",
    "sparsity",
    "taps",
    "tasks",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"lomt.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"lomt.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'lomt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
