"""The network, its tasks and its losses as a Lightning module."""

import math
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection

from lomt.balancing import BALANCING, Balancing
from lomt.data import Source
from lomt.models import Network, SelectingNetwork
from lomt.optim import ProxAdamW, parameter_groups
from lomt.selection import TapPath
from lomt.sparsity import Penalty
from lomt.tasks import Task
from lomt.training.diverged import TrainingDivergedError
from lomt.training.recipe import Recipe
from lomt.training.seeds import Seeded
from lomt.training.skipping import Skipping

LOOK = 50
"""On a GPU, losses are looked at after so many batches, since a look waits for it."""


class TrainingModule(pl.LightningModule):
    """One network in training: data in, one loss out, metrics over the whole validation split.

    Every epoch is reproducible by itself: before its first batch all random numbers are seeded from
    (seed, epoch), so that a training that was broken off continues with the very numbers of an unbroken one.

    Args:
        network: what is trained.
        source: where batches come from.
        recipe: the hyperparameters.
        penalty: what makes groups of the backbone's weights die; none trains densely.
        seed: start of all random numbers of this training.
        decoders: whether groups of the decoders' weights may die as well.
        path: drives the network's selector, if it has one.
    """

    def __init__(
        self,
        network: Network | SelectingNetwork,
        source: Source,
        recipe: Recipe,
        penalty: Penalty | None = None,
        seed: int = 0,
        decoders: bool = False,
        path: TapPath | None = None,
    ) -> None:
        super().__init__()
        self.network: nn.Module = network
        self.skipping = Skipping(network)
        self.source = source
        self.recipe = recipe
        self.penalty = penalty
        self.seed = seed
        self.decoders = decoders
        self.path = path
        self.balancing = _balancing(recipe.balancing, network.tasks)
        self.tasks = {task.name: task for task in network.tasks}
        self.validation: Mapping[str, MetricCollection] = nn.ModuleDict(  # type: ignore[assignment]
            {task.name: task.metrics() for task in network.tasks}
        )
        self.epoch: dict[str, float] = {}
        """What the present epoch gave so far: losses by split and task, validation metrics by task."""
        self._totals: dict[str, tuple[Tensor, int]] = {}
        self._begin, self._spent = _clocks(), (0.0, 0.0)
        if recipe.freeze_after == 0:
            self._freeze(None)

    def train_dataloader(self) -> Seeded:
        """The training batches; called anew for every epoch, and so the place where an epoch begins.

        Lightning calls no ``on_train_epoch_start`` for the first epoch after a checkpoint, counts
        ``current_epoch`` up too late for it, and iterates the loader once there but twice elsewhere.
        """
        self.epoch = {}
        self._totals = {}
        self._begin, self._spent = _clocks(), (0.0, 0.0)
        epoch = self.trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        return Seeded(self.source.train_dataloader(self.tasks), self.seed, epoch)

    def val_dataloader(self) -> DataLoader:
        """The validation batches."""
        return self.source.val_dataloader(self.tasks)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """The balanced loss of one batch.

        Raises:
            TrainingDivergedError: where a task's loss is not finite.
        """
        losses = self._losses(batch, "train")
        if batch["image"].device.type == "cpu" or batch_idx % LOOK == 0:
            self._check_finite(batch_idx)
        return self.balancing(losses, {name: self.tasks[name].weight for name in losses})

    def on_train_batch_end(self, outputs: STEP_OUTPUT, batch: object, batch_idx: int) -> None:  # noqa: ARG002
        """The path goes on with every step of the optimizer."""
        if self.path is not None and (batch_idx + 1) % self.recipe.accumulate == 0:
            self.path.step(min(1.0, self.trainer.global_step / int(self.trainer.estimated_stepping_batches)))

    def on_validation_epoch_start(self) -> None:
        """Start the metrics of the whole split anew; an epoch's training has ended."""
        self._spent = self._since_begin()
        for metric in self.validation.values():
            metric.reset()

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:  # noqa: ARG002
        """Add one batch to the losses and to the metrics of the whole split."""
        self._losses(batch, "val")

    def on_validation_epoch_end(self) -> None:
        """Metrics over the whole validation split."""
        for name, metric in self.validation.items():
            for key, value in metric.compute().items():
                self.epoch[f"{name}/{key}"] = float(value)

    def close_epoch(self) -> dict[str, float]:
        """Mean losses and metrics of the epoch that has just ended, by name; balancing moves on.

        Raises:
            TrainingDivergedError: where a task's loss is not finite.
        """
        self._check_finite()
        for name, (total, count) in self._totals.items():
            self.epoch[name] = float(total) / count
        self.epoch |= {f"weight/{name}": weight for name, weight in self.balancing.weights().items()}
        self.balancing.end_epoch()
        seconds, processor = self._spent if any(self._spent) else self._since_begin()
        self.epoch["seconds"] = round(seconds, 3)
        if self.device.type == "cpu":
            self.epoch["processor"] = round(processor, 3)
        return self.epoch

    def computed(self) -> float:
        """Share of a forward's multiply-accumulates that the present network computes, from 0 to 1."""
        like = next(self.network.parameters())
        return self.skipping.computed(like.new_zeros(1, 3, *self.source.size))

    def on_fit_start(self) -> None:
        """What is dead is skipped from the start."""
        self.skipping.skip()

    def on_train_epoch_end(self) -> None:
        """Skip what has died since, or freeze it; Lightning saves the checkpoint after this."""
        done = self.current_epoch + 1
        if done == self.recipe.freeze_after and done < self.recipe.epochs and not self.trainer.should_stop:
            optimizer = self.optimizers(use_pl_optimizer=False)
            assert isinstance(optimizer, Optimizer)
            self._freeze(optimizer)
        else:
            self.skipping.skip()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The weights are those of the network's present shape."""
        checkpoint["skipping"] = self.skipping.state_dict()
        if self.path is not None:
            checkpoint["path"] = self.path.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take that shape; the weights are loaded after this, then optimizers are made, then their state loaded."""
        self.network = self.skipping.load_state_dict(checkpoint["skipping"])
        if self.path is not None:
            self.path.load_state_dict(checkpoint["path"])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """ProxAdamW (AdamW where nothing is penalized) and the schedule, one step an update."""
        recipe = self.recipe
        full = self.skipping.full
        groups = parameter_groups(full, self.penalty, where=full if self.decoders else None)
        if self.path is not None:
            own = self.path.groups()
            groups = [*_without(groups, own), *own]
        learned = list(self.balancing.parameters())
        if learned:
            groups.append({"params": learned, "weight_decay": 0.0})
        optimizer = ProxAdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)
        self.skipping.attach(optimizer)
        if recipe.schedule == "constant":
            return {"optimizer": optimizer}
        steps = int(self.trainer.estimated_stepping_batches)
        # A warm-up of exactly one step has no length, and OneCycleLR divides by it.
        alone = recipe.warmup * steps == 1
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=recipe.lr,
            total_steps=steps,
            pct_start=recipe.warmup * (1 - 1e-6) if alone else recipe.warmup,
            cycle_momentum=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _losses(self, batch: Mapping[str, Tensor], split: str) -> dict[str, Tensor]:
        images = batch["image"]
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        present = [name for name in self.tasks if name in batch]
        outputs = self.network(images, tasks=present)
        losses = {}
        for name in present:
            losses[name] = self.tasks[name].loss(outputs[name], batch[name])
            if split == "val":
                self.validation[name].update(outputs[name], batch[name])
            # Means are over images, so that a short last batch weighs what it holds. A number would wait for a GPU.
            total, count = self._totals.get(f"{split}_loss/{name}", (0.0, 0))
            self._totals[f"{split}_loss/{name}"] = (total + losses[name].detach() * len(images), count + len(images))
        return losses

    def _check_finite(self, batch: int | None = None) -> None:
        """Look at the epoch's losses so far: one that was not finite has made their sum so."""
        for name, (total, _) in self._totals.items():
            split, task = name.split("_loss/", 1)
            if split == "train" and not math.isfinite(total):
                raise TrainingDivergedError(task, float(total), self.current_epoch, batch, self.recipe.lr)

    def _since_begin(self) -> tuple[float, float]:
        """Seconds of the epoch so far: by the clock, and of the processor, whom neighbours don't slow down."""
        (begin, at), (now, used) = self._begin, _clocks()
        return now - begin, used - at

    def _freeze(self, optimizer: Optimizer | None) -> None:
        like = next(self.network.parameters())
        self.skipping.freeze(like.new_zeros(1, 3, *self.source.size), optimizer)
        self.network = self.skipping.network


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def _balancing(name: str, tasks: list[Task]) -> Balancing:
    # A single loss needs no balance; learning its weight would only rescale the learning rate.
    return BALANCING[name if len(tasks) > 1 else "equal"]([task.name for task in tasks])


def _without(groups: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parameter groups without the parameters that are in others."""
    taken = {id(parameter) for group in others for parameter in group["params"]}
    left = []
    for group in groups:
        kept = [place for place, parameter in enumerate(group["params"]) if id(parameter) not in taken]
        parts = {key: [group[key][place] for place in kept] for key in ("params", "places")}
        if kept:
            left.append({**group, **parts})
    return left
