"""When a training has done enough: validation stalls, the target is reached, sparsity is stable."""

from abc import ABC, abstractmethod
from statistics import fmean
from typing import Any

from lomt.sparsity import Stabilized
from lomt.training.recipe import Recipe


class StoppingRule(ABC):
    """Looks at the history after every epoch and says whether to stop; it has no state of its own.

    Because a rule is a function of the history, a training that was broken off stops where an unbroken one does.
    """

    @abstractmethod
    def reason(self, rows: list[dict[str, Any]]) -> str | None:
        """Why to stop now, or none to go on."""


class Patience(StoppingRule):
    """Stop after ``epochs`` epochs without a better validation loss.

    Of several tasks it is the mean of their losses, each divided by its own first one: none counts for its units.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def reason(self, rows: list[dict[str, Any]]) -> str | None:
        """Stalled, or none."""
        losses = [
            (row["epoch"], found)
            for row in rows
            if (found := {key: value for key, value in row.items() if key.startswith("val_loss/")})
        ]
        if not losses:
            return None
        _, first = losses[0]
        relative = {
            epoch: fmean(value / (abs(first[key]) or 1.0) for key, value in found.items()) for epoch, found in losses
        }
        best = min(relative, key=lambda epoch: relative[epoch])
        if rows[-1]["epoch"] - best < self.epochs:
            return None
        return f"no better validation loss than that of epoch {best} for {self.epochs} epochs"


class TargetSparsity(StoppingRule):
    """Stop once ``target`` of the groups are dead."""

    def __init__(self, target: float) -> None:
        self.target = target

    def reason(self, rows: list[dict[str, Any]]) -> str | None:
        """Reached, or none."""
        sparsity = rows[-1]["sparsity"]
        return f"sparsity {sparsity:.1%} reached the target {self.target:.1%}" if sparsity >= self.target else None


class StableSparsity(StoppingRule):
    """Stop once sparsity has begun and then has changed by less than 0.1 point for ``epochs`` epochs."""

    def __init__(self, epochs: int, change: float = 0.001) -> None:
        self.epochs = epochs
        self.change = change

    def reason(self, rows: list[dict[str, Any]]) -> str | None:
        """Stable, or none."""
        rule = Stabilized(change=self.change, patience=self.epochs)
        stable = False
        for row in rows:
            stable = rule(row["sparsity"])
        return f"sparsity stable at {rows[-1]['sparsity']:.1%} for {self.epochs} epochs" if stable else None


def rules_of(recipe: Recipe) -> list[StoppingRule]:
    """The rules that a recipe asks for."""
    rules: list[StoppingRule] = []
    if recipe.patience:
        rules.append(Patience(recipe.patience))
    if recipe.target_sparsity < 1:
        rules.append(TargetSparsity(recipe.target_sparsity))
    if recipe.stable_epochs:
        rules.append(StableSparsity(recipe.stable_epochs))
    return rules
