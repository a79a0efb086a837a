"""The stage that trains one network."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tailor.methods.stage import Preview, Result, Stage
from tailor.methods.workshop import Workshop
from tailor.sparsity import Penalty, pattern
from tailor.training import Progress, fit, write_atomically

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
        start: the training stage of the same network whose weights to go on from; none begins anew.
    """

    method: str
    taps: Mapping[str, str]
    seed: int
    penalty: Penalty | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    start: str | None = None

    def run(self, workshop: Workshop, folder: Path, progress: Progress) -> Result:
        """Train; weights go to ``weights.pt``, the figures of every epoch to ``metrics.csv``."""
        network = workshop.network(self.taps, self.seed, self.weights)
        if self.start is not None:
            network.load_state_dict(workshop.trained(self.start, self.taps).state_dict())
        fitted = fit(
            network,
            workshop.source,
            workshop.recipe,
            penalty=self.penalty,
            seed=self.seed if self.start is None else self.seed + CONTINUED,
            folder=folder,
            progress=progress,
            accelerator=workshop.accelerator,
        )
        network.cpu().eval()
        weights = io.BytesIO()
        torch.save(network.state_dict(), weights)
        write_atomically(folder / "weights.pt", weights.getvalue())
        spent = workshop.cost(self.taps)
        return {
            "stage": self.name,
            "method": self.method,
            "taps": dict(self.taps),
            "seed": self.seed,
            "penalty": repr(self.penalty) if self.penalty else None,
            "weights": dict(self.weights),
            "start": self.start,
            "epochs": len(fitted.history),
            "stopped": fitted.stopped,
            "validation": fitted.history[-1],
            "parameters": spent.parameters,
            "macs": spent.macs,
            "pattern": pattern(network.backbone, workshop.example).to_dict(),
            "seconds": round(fitted.seconds, 1),
        }

    def preview(self, workshop: Workshop) -> Preview:
        """The size of the network, and the cost of its whole training."""
        spent = workshop.cost(self.taps)
        images = len(workshop.source.train_dataloader().dataset)  # type: ignore[arg-type]
        where = ", ".join(f"{task} at {tap}" for task, tap in self.taps.items())
        return Preview(
            result={"stage": self.name, "method": self.method, "taps": dict(self.taps), "seed": self.seed},
            work=float(BACKWARD * spent.macs * images * workshop.recipe.epochs),
            what=f"{'sparse, ' if self.penalty else ''}{where}{f', from {self.start}' if self.start else ''}",
            parameters=spent.parameters,
            macs=spent.macs,
        )
