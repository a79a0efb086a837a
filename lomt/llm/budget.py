"""What closed experts are worth: η fixed, or found for a wanted sparsity by dual ascent."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState, TrainerControl, TrainerState

from lomt.checks import check_number

RATE = 0.02
"""By how much the multiplier grows in an optimizer step for each unit of sparsity that is missing."""

GAIN = 10.0
"""What a unit of missing sparsity adds to η at once: the augmented Lagrangian's penalty, which damps the ascent."""


class Budget(TrainerCallback, ExportableState):
    """η, the weight of the efficiency loss; stands in a trainer's checkpoints and comes back from them.

    With a target, η = μ + GAIN · (target − sparsity), where μ, the multiplier of the constraint "sparsity = target",
    begins at 0 and grows by ``rate · (target − sparsity)`` after each optimizer step: dual ascent on the augmented
    Lagrangian. Both may be negative: gates that have closed too far are opened again. Without a target η is the paper's
    fixed number.

    Args:
        eta: η where there is no target.
        target: share of experts closed, above 0 and below 1; None: η stays.
        rate: of the ascent.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(self, eta: float, target: float | None = None, rate: float = RATE) -> None:
        check_number("eta", eta)
        check_number("rate", rate, zero=False)
        if target is not None and not 0 < target < 1:
            raise ValueError(f"target_sparsity is {target}: use a share of experts above 0 and below 1")
        self.eta = eta if target is None else GAIN * target
        self.multiplier = 0.0
        self.target = target
        self.rate = rate

    def step(self, sparsity: float) -> None:
        """Take the sparsity of an optimizer step's tokens into account."""
        if self.target is not None:
            missing = self.target - sparsity
            self.multiplier += self.rate * missing
            self.eta = self.multiplier + GAIN * missing

    def state(self) -> dict[str, Any]:
        """As ``Trainer`` keeps it."""
        return {
            "args": {"eta": self.eta, "target": self.target, "rate": self.rate},
            "attributes": {"eta": self.eta, "multiplier": self.multiplier},
        }

    def on_train_begin(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Go on from the checkpoint's η and μ."""
        stored = state.stateful_callbacks[type(self).__name__]["attributes"]
        self.eta, self.multiplier = stored["eta"], stored["multiplier"]
        return control
