"""What a long computation tells whoever waits for it."""

from typing import Protocol

import lightning.pytorch as pl
from lightning.pytorch.utilities.types import STEP_OUTPUT


class Progress(Protocol):
    """Hears how far a stage is."""

    def __call__(self, done: float, text: str) -> None:
        """``done`` in [0, 1] of this stage; ``text`` a few words on where it is."""


def part_of(whole: Progress, number: int, count: int, what: str) -> Progress:
    """The progress of one of ``count`` equal parts of a stage, the first being 0; ``what`` it is precedes its texts."""

    def report(done: float, text: str) -> None:
        whole((number + done) / count, f"{what} · {text}")

    return report


class ProgressCallback(pl.Callback):
    """Reports every batch of a training to a :class:`Progress`."""

    def __init__(self, report: Progress) -> None:
        self.report = report

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: STEP_OUTPUT,  # noqa: ARG002
        batch: object,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """One batch further."""
        epochs = trainer.max_epochs or 1
        done = (trainer.current_epoch + (batch_idx + 1) / max(1, int(trainer.num_training_batches))) / epochs
        self.report(done, f"epoch {trainer.current_epoch + 1}/{epochs}")
