"""The stage that trains small decoders on every candidate of a dense network that is frozen."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from lomt.methods.stage import Preview, Result, Stage
from lomt.methods.workshop import Workshop
from lomt.models import DECODERS
from lomt.training import Progress, seed_everything
from lomt.training.frozen import probe

EPOCHS = 0.5
"""Length of a probing, as a share of the recipe's epochs: the decoders are small."""


@dataclass(frozen=True)
class Probing(Stage):
    """Probe a single-task network, its decoder at the end, at each block.

    Attributes:
        dense: result of its training.
    """

    dense: Result

    def run(self, workshop: Workshop, folder: Path, progress: Progress) -> Result:  # noqa: ARG002
        """Train the probes; nothing but their losses is kept."""
        ((name, _),) = self.dense["taps"].items()
        task = next(task for task in workshop.tasks if task.name == name)
        network = workshop.trained(self.dense["stage"], self.dense["taps"])
        backbone = workshop.probed(network, workshop.blocks).to(workshop.device)
        seed, begin = int(self.dense["seed"]), time.monotonic()
        seed_everything("probe", seed)
        decoder = DECODERS["light" if task.dense else "head"]
        widths = {tap.name: tap.channels for tap in workshop.candidates}
        probes = {tap: decoder(widths[tap], task).to(workshop.device) for tap in workshop.blocks}
        recipe = replace(workshop.recipe, epochs=self._epochs(workshop))
        losses = probe(backbone, task, workshop.source, probes, recipe, seed, progress)
        return {
            "stage": self.name,
            "start": self.dense["stage"],
            "losses": losses,
            "seed": seed,
            "seconds": round(time.monotonic() - begin, 1),
        }

    def preview(self, workshop: Workshop) -> Preview:
        """A forward pass of the backbone for each image, and some for the probes."""
        spent = workshop.cost(self.dense["taps"])
        images = len(workshop.source.train_dataloader().dataset)  # type: ignore[arg-type]
        epochs = self._epochs(workshop)
        return Preview(
            result={"stage": self.name, "losses": {workshop.end: 0.0}},
            work=float(spent.macs * images * epochs),
            what=f"small decoders on each block of {self.dense['stage']}, {epochs} epochs",
        )

    def _epochs(self, workshop: Workshop) -> int:
        return max(1, round(EPOCHS * workshop.recipe.epochs))
