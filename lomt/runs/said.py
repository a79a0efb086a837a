"""A stage that has ended, in a line."""

from collections.abc import Mapping, Sequence
from typing import Any

from lomt.methods import Result
from lomt.tasks import Task


def ended(name: str, result: Result, tasks: Sequence[Task]) -> str:
    """What a person wants to know of it: its figures on validation, how much is dead, and how long it took.

    Args:
        name: of the stage.
        result: what it left.
        tasks: say which of its figures count most.
    """
    parts = [name, *_figures(result, tasks)]
    if "strength" in result and "points" in result:
        parts.append(f"λ {result['strength']:.1e}" if result["strength"] else "no λ is bearable")
    sparsity = result.get("validation", {}).get("sparsity", 0.0)
    if sparsity or "strengths" in result:
        parts.append(f"{sparsity:.0%} of the channels dead")
    if "taps" in result and "selections" in result:
        parts += [f"{task} {tap}" for task, tap in result["taps"].items()]
    if "said" in result:
        parts.append(result["said"])
    if "seconds" in result:
        parts.append(f"{result['seconds']:.0f} s")
    return " · ".join(parts)


def _figures(result: Result, tasks: Sequence[Task]) -> list[str]:
    values: Mapping[str, Any] = result.get("validation", {})
    found = []
    for task in tasks:
        name = task.headline[0]
        value = values.get(f"{task.name}/{name}")
        if value is not None:
            unit = task.units.get(name, "")
            found.append(f"{task.name} {name} {value:.3g}{' ' if unit.isalpha() else ''}{unit}")
    return found
