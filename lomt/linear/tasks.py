"""One task of a mixed fit: its samples, its loss, its weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lomt.linear.losses import LOSSES, Loss
from lomt.linear.losses.base import Array, Labels

Name = Any
Losses = str | Loss | Sequence[str | Loss] | Mapping[Name, str | Loss]


@dataclass(frozen=True)
class Samples:
    """What a user gives for one task, rows without a label already left out.

    Attributes:
        name: The task's identifier.
        X: Dense or sparse `(n, p)`; tasks that share the very same object share all work on it.
        y: Labels `(n,)`, of any type.
        weights: Sample weights `(n,)`, positive.
    """

    name: Name
    X: Any
    y: Labels
    weights: Array


def guess_loss(y: Labels) -> str:
    """Two distinct values: logistic. More, and no numbers: multinomial. Else squared.

    >>> guess_loss(np.array([0.0, 1.0, 1.0])), guess_loss(np.array([1, 2, 3])), guess_loss(np.array(list("abc")))
    ('logistic', 'squared', 'multinomial')
    """
    distinct = np.unique(y)
    numbers = np.issubdtype(distinct.dtype, np.number)
    if len(distinct) == 2 or (len(distinct) == 1 and not numbers):
        return "logistic"
    return "squared" if numbers else "multinomial"


def resolve_loss(choice: str | Loss, y: Labels, name: Name) -> Loss:
    """The loss that a user's word for it, or `"auto"`, means for labels `y`.

    Raises:
        ValueError: If the word is unknown.
    """
    if isinstance(choice, Loss):
        return choice
    word = guess_loss(y) if choice == "auto" else choice
    if choice == "auto" and word == "multinomial":
        classes = len(np.unique(y))
        if classes > max(10, len(y) // 2):
            raise ValueError(
                f"task {name!r}: {classes} different labels in {len(y)} rows (the first is {y[0].item()!r}) are no "
                "numbers and hardly classes; expected numbers, or few classes (losses='multinomial' takes any)"
            )
    if word not in LOSSES:
        raise ValueError(
            f"unknown loss {choice!r} for task {name!r}: expected 'auto', one of {sorted(LOSSES)} or a Loss object"
        )
    return LOSSES[word]()


def losses_of(choices: Losses, names: Sequence[Name]) -> list[str | Loss]:
    """One choice a task, from one for all, a sequence in the order of tasks, or a mapping from task names.

    Raises:
        ValueError: If a sequence has another length than there are tasks, or a mapping names an unknown task.
    """
    if isinstance(choices, str | Loss):
        return [choices] * len(names)
    if isinstance(choices, Mapping):
        unknown = [name for name in choices if name not in names]
        if unknown:
            raise ValueError(f"losses names unknown task {unknown[0]!r}; the tasks are {list(names)}")
        return [choices.get(name, "auto") for name in names]
    if len(choices) != len(names):
        raise ValueError(f"losses has {len(choices)} entries, but there are {len(names)} tasks: {list(names)}")
    return list(choices)
