"""What every epoch gave, in memory and as ``metrics.csv``."""

import csv
import io
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from tailor.sparsity import channel_groups
from tailor.training.atomic import write_atomically
from tailor.training.module import TrainingModule


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
        row["sparsity"] = _sparsity(pl_module.shrinking.whole().get_submodule("backbone"))
        self.rows.append(row)
        if self.path is not None:
            write_atomically(self.path, self.table())

    def table(self) -> str:
        """The rows as CSV; a figure that an epoch does not have (a task without labels) is empty."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of a checkpoint."""
        self.rows = state_dict["rows"]


def _sparsity(backbone: nn.Module) -> float:
    """Share of the backbone's groups that are dead; every convolution in a network is there because it runs."""
    alive = torch.cat([view.alive for view in channel_groups(backbone)])
    return 1 - float(alive.double().mean())
