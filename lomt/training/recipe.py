"""How a network is trained: every number of it, in one dataclass."""

from dataclasses import dataclass
from typing import Literal

from lomt.balancing import BALANCING
from lomt.checks import check_number, check_whole


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one training.

    Attributes:
        epochs: passes over the training split.
        lr: peak learning rate.
        schedule: "onecycle" warms up to ``lr`` and anneals to almost 0; "constant" stays at ``lr``.
        warmup: share of the steps that the one-cycle schedule spends on its way up.
        weight_decay: decoupled, on weights of two or more dimensions; biases, norms and loss weights have none.
        precision: Lightning's name: "32-true", "bf16-mixed", "16-mixed".
        channels_last: memory layout of images and weights; mostly faster for convolutions.
        clip: largest norm of the gradient, 0 for no clipping.
        accumulate: batches whose gradients make one step.
        balancing: how the losses of several tasks are weighted; a name of ``lomt.balancing.BALANCING``. The loss
            of a single task has weight 1.
        patience: stop after so many epochs without a better validation loss; 0 never stops.
        target_sparsity: stop once this share of the penalized groups is dead; 1 never stops.
        stable_epochs: stop once sparsity has not changed for so many epochs, counted from the first dead group
            on; 0 never stops.
        freeze_after: after so many epochs, what is dead by then stays dead, and is taken out of the network that is
            trained; 0: before the first. None never does: groups may come back to the end.
        validate_last_only: validate after the last epoch alone, where nobody looks at the others.
    """

    epochs: int = 30
    lr: float = 2e-3
    schedule: Literal["onecycle", "constant"] = "onecycle"
    warmup: float = 0.3
    weight_decay: float = 0.01
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    channels_last: bool = True
    clip: float = 0.0
    accumulate: int = 1
    balancing: str = "geometric"
    patience: int = 0
    target_sparsity: float = 1.0
    stable_epochs: int = 0
    freeze_after: int | None = None
    validate_last_only: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "accumulate"):
            check_whole(f"recipe.{name}", getattr(self, name), 1)
        for name in ("patience", "stable_epochs"):
            check_whole(f"recipe.{name}", getattr(self, name))
        if self.freeze_after is not None:
            check_whole("recipe.freeze_after", self.freeze_after)
        check_number("recipe.lr", self.lr, zero=False)
        for name in ("weight_decay", "clip"):
            check_number(f"recipe.{name}", getattr(self, name))
        if not 0 < self.warmup < 1:
            raise ValueError(f"recipe.warmup is {self.warmup}: use a share of the steps, above 0 and below 1")
        if not 0 < self.target_sparsity <= 1:
            raise ValueError(f"recipe.target_sparsity is {self.target_sparsity}: use a number above 0, at most 1")
        if self.validate_last_only and self.stops:
            raise ValueError("recipe.validate_last_only is on, but the training may stop before its last epoch")
        if self.balancing not in BALANCING:
            raise ValueError(f"unknown balancing {self.balancing!r} – there are {', '.join(BALANCING)}")

    @property
    def stops(self) -> bool:
        """Whether the training may end before its last epoch."""
        return bool(self.patience or self.stable_epochs or self.target_sparsity < 1)
