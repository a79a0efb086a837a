"""Torch-Pruning's group pruner (DepGraph, arXiv 2301.12900) on a dense multi-task network, as stages of a protocol.

It is run as its authors do: sparse learning under the group regularization, global pruning by group norm until a share
of the multiply-accumulates is left, fine-tuning. Decoders are pruned like the backbone; output layers are left whole.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch_pruning as tp
from torch import nn

from lomt.evaluation import cost
from lomt.methods import BACKWARD, Method, Preview, Result, Setup, Stage
from lomt.models import Network
from lomt.training import Progress, fit, forget
from lomt.training.stored import save

REGULARIZATION = 5e-4
"""Weight of the group regularization: the value that the authors' own benchmark gives."""
ROUNDS = 100
"""Steps in which a network would be pruned to nothing; it ends at the first that is small enough."""
PRUNED = "pruned.pt"


def group_pruner(start: Result, keep: float, epochs: int) -> Method:
    """Prune a dense network to a share of its multiply-accumulates.

    Args:
        start: result of the dense network's training.
        keep: the share.
        epochs: of sparse learning and of fine-tuning together, half each.
    """
    name = f"group_pruner/seed-{start['seed']}"
    learned = yield SparseLearning(f"{name}/sparse-learning", start, epochs // 2)
    return [(yield FineTuning(f"{name}/{keep:.2f}", learned, keep, epochs - epochs // 2))]


@dataclass(frozen=True)
class SparseLearning(Stage):
    """Train a dense network on under group regularization.

    Attributes:
        start: result of the network's training.
        epochs: with the recipe's whole schedule.
    """

    start: Result
    epochs: int

    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:
        """Train; the weights serve every share that is to be kept."""
        network = setup.trained(self.start["stage"], self.start["taps"])
        regularize = Regularize(pruner(network, setup.example), network)
        recipe, seed = replace(setup.recipe, epochs=self.epochs), int(self.start["seed"])
        fit(
            network.train(),
            setup.source,
            recipe,
            seed=seed + 10_000,
            folder=folder,
            progress=progress,
            accelerator=setup.accelerator,
            callbacks=[regularize],
        )
        setup.keep(network, folder)
        forget(folder)
        return {"stage": self.name, "taps": dict(self.start["taps"]), "seed": seed, "epochs": self.epochs}

    def preview(self, setup: Setup) -> Preview:
        """A training at full size."""
        work = _work(setup, self.start, self.epochs)
        return Preview(
            {"stage": self.name, "taps": dict(self.start["taps"]), "seed": self.start["seed"]}, work, "sparse learning"
        )


@dataclass(frozen=True)
class FineTuning(Stage):
    """Prune what sparse learning left, and train it on.

    Attributes:
        learned: result of the sparse learning.
        keep: share of the network's multiply-accumulates to keep.
        epochs: with the recipe's whole schedule.
    """

    learned: Result
    keep: float
    epochs: int

    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:
        """Prune, train; the pruned network is kept whole, since its shape is its own."""
        network, seed = setup.trained(self.learned["stage"], self.learned["taps"]), int(self.learned["seed"])
        prune(network, setup.example, self.keep)
        fitted = fit(
            network.train(),
            setup.source,
            replace(setup.recipe, epochs=self.epochs),
            seed=seed + 20_000,
            folder=folder,
            progress=progress,
            accelerator=setup.accelerator,
        )
        network.cpu().eval()
        save(network, folder / PRUNED)
        forget(folder)
        spent = cost(network, setup.example)
        return {
            "stage": self.name,
            "method": f"group_pruner {self.keep:.0%}",
            "taps": dict(self.learned["taps"]),
            "seed": seed,
            "keep": self.keep,
            "regularization": REGULARIZATION,
            "epochs": self.learned["epochs"] + self.epochs,
            "validation": fitted.history[-1],
            "parameters": spent.parameters,
            "macs": spent.macs,
        }

    def preview(self, setup: Setup) -> Preview:
        """A training at the pruned size."""
        work = self.keep * _work(setup, self.learned, self.epochs)
        return Preview({"stage": self.name}, work, f"prune to {self.keep:.0%} of the MACs")


class Regularize(pl.Callback):
    """Adds the pruner's regularization to the gradients, where its authors have it: after backward, before the step."""

    def __init__(self, pruner: Any, network: nn.Module) -> None:
        self.pruner = pruner
        self.network = network

    def on_train_epoch_start(self, *_: Any) -> None:
        """Look at the groups anew."""
        self.pruner.update_regularizer()

    def on_before_optimizer_step(self, *_: Any) -> None:
        """Add it."""
        self.pruner.regularize(self.network)


def pruner(network: Network, example: torch.Tensor) -> Any:
    """Torch-Pruning's pruner for a network of ours."""
    return tp.pruner.GroupNormPruner(
        network,
        example,
        importance=tp.importance.GroupMagnitudeImportance(p=2, normalizer="max"),
        reg=REGULARIZATION,
        global_pruning=True,
        pruning_ratio=1.0,
        iterative_steps=ROUNDS,
        ignored_layers=[_last(network.decoders[task.name]) for task in network.tasks],
        output_transform=lambda found: sum(output.sum() for output in found.values()),
    )


def prune(network: Network, example: torch.Tensor, keep: float) -> None:
    """Remove groups, in place, until at most a share of the multiply-accumulates is left."""
    theirs, limit = pruner(network, example), keep * cost(network, example).macs
    while cost(network, example).macs > limit and theirs.current_step < ROUNDS:
        theirs.step()


def pruned(folder: Path) -> nn.Module:
    """The network that fine-tuning left in its folder."""
    network: nn.Module = torch.load(folder / PRUNED, weights_only=False)
    return network


def _work(setup: Setup, result: Result, epochs: int) -> float:
    images = len(setup.source.train_dataloader().dataset)  # type: ignore[arg-type]
    return float(BACKWARD * setup.cost(result["taps"]).macs * images * epochs)


def _last(decoder: nn.Module) -> nn.Module:
    return [layer for layer in decoder.modules() if isinstance(layer, nn.Conv2d | nn.Linear)][-1]
