"""When a training has done enough: validation stalls, the target is reached, sparsity is stable."""

from abc import ABC, abstractmethod
from statistics import fmean
from typing import Any

import lightning.pytorch as pl

from lomt.sparsity import Stabilized
from lomt.training.history import History
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


class Stopping(pl.Callback):
    """Asks the recipe's rules after every epoch.

    Args:
        recipe: says which rules are on.
        history: where the rows are.
    """

    def __init__(self, recipe: Recipe, history: History) -> None:
        self.history = history
        self.rules: list[StoppingRule] = []
        if recipe.patience:
            self.rules.append(Patience(recipe.patience))
        if recipe.target_sparsity < 1:
            self.rules.append(TargetSparsity(recipe.target_sparsity))
        if recipe.stable_epochs:
            self.rules.append(StableSparsity(recipe.stable_epochs))

    @property
    def reason(self) -> str | None:
        """Why the training stops before its last epoch, or none."""
        reasons = [rule.reason(self.history.rows) for rule in self.rules] if self.history.rows else []
        return next((reason for reason in reasons if reason), None)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """A checkpoint may be that of an epoch after which to stop."""
        trainer.should_stop = self.reason is not None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Stop where a rule says so."""
        trainer.should_stop = self.reason is not None
