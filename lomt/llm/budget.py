"""What closed experts are worth: η fixed, or found for a wanted sparsity by dual ascent."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState, TrainerControl, TrainerState

from lomt.checks import check_number

RATE = 0.1
"""By how much η grows in an optimizer step for each unit of sparsity that is missing."""


class Budget(TrainerCallback, ExportableState):
    """η, the weight of the efficiency loss; stands in a trainer's checkpoints and comes back from them.

    With a target, η is the multiplier of the constraint "sparsity ≥ target": after each optimizer step it grows by
    ``rate · (target − sparsity)``, and never below 0 (dual ascent). Without one it is the paper's fixed number.

    Args:
        eta: η, at first.
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
        self.eta = eta
        self.target = target
        self.rate = rate

    def step(self, sparsity: float) -> None:
        """Take the sparsity of an optimizer step's tokens into account."""
        if self.target is not None:
            self.eta = max(0.0, self.eta + self.rate * (self.target - sparsity))

    def state(self) -> dict[str, Any]:
        """As ``Trainer`` keeps it."""
        return {
            "args": {"eta": self.eta, "target": self.target, "rate": self.rate},
            "attributes": {},
        }

    def on_train_begin(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Go on from the checkpoint's η."""
        self.eta = state.stateful_callbacks[type(self).__name__]["args"]["eta"]
        return control
