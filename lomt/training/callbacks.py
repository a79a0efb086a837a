"""What Lightning calls while it trains: the history, the stopping rules, the progress, the files of checkpoints."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import nn

from lomt.files import write_atomically
from lomt.sparsity import channel_groups
from lomt.training.checkpoints import keep
from lomt.training.history import table
from lomt.training.module import TrainingModule
from lomt.training.progress import Progress
from lomt.training.recipe import Recipe
from lomt.training.stopping import rules_of
from lomt.training.stored import load


class History(pl.Callback):
    """Collects one row an epoch; the rows travel with the checkpoint, so a resumed training has them all.

    Args:
        path: the CSV file, written whole after every epoch; none keeps the rows in memory alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the row of the epoch that ends."""
        assert isinstance(pl_module, TrainingModule)
        row = {"epoch": trainer.current_epoch + 1, **pl_module.close_epoch()}
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        row["sparsity"] = _sparsity(pl_module.skipping.whole().get_submodule("backbone"))
        row["computed"] = pl_module.computed()
        self.rows.append(row)
        if self.path is not None:
            write_atomically(self.path, table(self.rows))

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of a checkpoint."""
        self.rows = state_dict["rows"]


class Stopping(pl.Callback):
    """Asks the recipe's rules after every epoch.

    Args:
        recipe: says which rules are on.
        history: where the rows are.
    """

    def __init__(self, recipe: Recipe, history: History) -> None:
        self.history = history
        self.rules = rules_of(recipe)

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


class Checkpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place, then renames; Lightning's own writer goes by way of ``TMPDIR``."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: ARG002
        """Write it."""
        keep(checkpoint, Path(path))

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read it, tensors on the CPU."""
        found: dict[str, Any] = load(Path(path), "remove it, and the training goes on from an earlier epoch")
        return found


def _sparsity(backbone: nn.Module) -> float:
    """Share of the backbone's groups that are dead; every convolution in a network is there because it runs."""
    alive = torch.cat([view.alive for view in channel_groups(backbone)])
    return 1 - float(alive.double().mean())
