"""A bar for each training, with the loss, the sparsity and its price beside it, in place of a line for each log."""

from __future__ import annotations

from typing import Any

from transformers import ProgressCallback, Trainer, TrainerControl, TrainerState, TrainingArguments

from lomt.llm.several import SeveralLTETrainer
from lomt.llm.trainer import LTETrainer

SHOWN = {"loss": "loss", "sparsity": "closed", "eta": "η"}
"""Logged numbers that stand beside the bar, and what they are called there."""


class Bar(ProgressCallback):
    """Transformers' bar, quiet.

    Args:
        name: what is trained.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **options: Any
    ) -> None:
        """Begin it."""
        super().on_train_begin(args, state, control, **options)
        if self.training_bar is not None:
            self.training_bar.set_description(self.name)

    def on_log(  # the base class prints
        self,
        _args: TrainingArguments,
        _state: TrainerState,
        _control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Say how it goes."""
        if self.training_bar is not None and logs is not None:
            shown = {name: f"{logs[key]:.3f}" for key, name in SHOWN.items() if key in logs}
            if shown:
                self.training_bar.set_postfix(shown)


class DenseWithBar(Trainer):
    """``Trainer`` with a :class:`Bar`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        _replace(self, "dense")


class EfficientWithBar(LTETrainer):
    """:class:`lomt.llm.LTETrainer` with a :class:`Bar`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        _replace(self, f"LTE, {self.stage}")


class SeveralWithBar(SeveralLTETrainer):
    """:class:`lomt.llm.several.SeveralLTETrainer` with a :class:`Bar`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        _replace(self, f"LTE, {self.stage}")


def _replace(trainer: Trainer, name: str) -> None:
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(Bar(name))
