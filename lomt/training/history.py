"""What every epoch gave, in memory and as ``metrics.csv``."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from lomt.sparsity import channel_groups
from lomt.training.atomic import write_atomically
from lomt.training.module import TrainingModule

METRICS = "metrics.csv"
"""Where a training's history lies in its folder."""


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
            write_atomically(self.path, _table(self.rows))

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of a checkpoint."""
        self.rows = state_dict["rows"]


def joined(folders: Sequence[Path]) -> str:
    """The histories of trainings of which each went on from the one before, as one CSV; epochs are counted on."""
    rows: list[dict[str, Any]] = []
    for folder in folders:
        with (folder / METRICS).open(encoding="utf-8", newline="") as lines:
            rows += csv.DictReader(lines)
    return _table([row | {"epoch": number} for number, row in enumerate(rows, start=1)])


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; a figure that an epoch does not have (a task without labels) is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _sparsity(backbone: nn.Module) -> float:
    """Share of the backbone's groups that are dead; every convolution in a network is there because it runs."""
    alive = torch.cat([view.alive for view in channel_groups(backbone)])
    return 1 - float(alive.double().mean())
