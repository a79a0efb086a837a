"""The stage that trains one network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lomt.methods.setup import Setup
from lomt.methods.stage import Preview, Result, Stage
from lomt.models import Network
from lomt.sparsity import Penalty, pattern
from lomt.training import Fitted, Progress, fit

BACKWARD = 3
"""A training step costs about three forward passes: forward, gradients of inputs, gradients of weights."""

CONTINUED = 10_000
"""Added to the seed of a training that goes on from another: it sees the images in other orders."""


@dataclass(frozen=True)
class Train(Stage):
    """Train one network and keep its weights, its history and the pattern of its live groups.

    Attributes:
        method: the method that asks for it; networks of one method and several seeds are one row of the table.
        taps: where each task's decoder is attached; the keys say which tasks are learned.
        seed: of the initial weights, the order of the images and the augmentation.
        penalty: makes groups of the backbone die, or none.
        weights: how much a task counts, where that is not once its own weight.
    """

    method: str
    taps: Mapping[str, str]
    seed: int
    penalty: Penalty | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:
        """Train; weights go to ``weights.pt``, the figures of every epoch to ``metrics.csv``."""
        network = setup.network(self.taps, self.seed, self.weights)
        fitted = fit(
            network,
            setup.source,
            setup.recipe,
            penalty=self.penalty,
            seed=self.seed,
            folder=folder,
            progress=progress,
            accelerator=setup.accelerator,
        )
        result = outcome(self, setup, network, folder, fitted)
        return result | {"penalty": repr(self.penalty) if self.penalty else None, "weights": dict(self.weights)}

    def preview(self, setup: Setup) -> Preview:
        """The size of the network, and the cost of its whole training."""
        spent = setup.cost(self.taps)
        images = len(setup.source.train_dataloader().dataset)  # type: ignore[arg-type]
        where = ", ".join(f"{task} at {tap}" for task, tap in self.taps.items())
        return Preview(
            result={"stage": self.name, "method": self.method, "taps": dict(self.taps), "seed": self.seed},
            work=float(BACKWARD * spent.macs * images * setup.recipe.epochs),
            what=f"{'sparse, ' if self.penalty else ''}{where}",
            parameters=spent.parameters,
            macs=spent.macs,
        )


class Trains(Protocol):
    """What the outcome of a training names."""

    @property
    def name(self) -> str:
        """Of the stage."""

    @property
    def method(self) -> str:
        """That asked for it."""

    @property
    def taps(self) -> Mapping[str, str]:
        """Of the network."""

    @property
    def seed(self) -> int:
        """Of the training."""


def outcome(stage: Trains, setup: Setup, network: Network, folder: Path, fitted: Fitted) -> Result:
    """Keep a trained network, and say what it is and how its training ended."""
    setup.keep(network, folder)
    spent = setup.cost(stage.taps)
    return {
        "stage": stage.name,
        "method": stage.method,
        "taps": dict(stage.taps),
        "seed": stage.seed,
        "epochs": len(fitted.history),
        "stopped": fitted.stopped,
        "validation": fitted.history[-1],
        "parameters": spent.parameters,
        "macs": spent.macs,
        "pattern": pattern(network.backbone, setup.example).to_dict(),
        "seconds": round(fitted.seconds, 1),
    }
