"""The stage that trains small decoders on every candidate of a dense network that is frozen."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from lomt.methods.setup import Setup
from lomt.methods.stage import Preview, Result, Stage
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

    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:  # noqa: ARG002
        """Train the probes; nothing but their losses is kept."""
        ((name, _),) = self.dense["taps"].items()
        task = next(task for task in setup.tasks if task.name == name)
        network = setup.trained(self.dense["stage"], self.dense["taps"])
        backbone = setup.probed(network, setup.blocks).to(setup.device)
        seed, begin = int(self.dense["seed"]), time.monotonic()
        seed_everything("probe", seed)
        decoder = DECODERS["light" if task.dense else "head"]
        widths = {tap.name: tap.channels for tap in setup.candidates}
        probes = {tap: decoder(widths[tap], task).to(setup.device) for tap in setup.blocks}
        recipe = replace(setup.recipe, epochs=self._epochs(setup))
        losses = probe(backbone, task, setup.source, probes, recipe, seed, progress)
        return {
            "stage": self.name,
            "start": self.dense["stage"],
            "losses": losses,
            "seed": seed,
            "seconds": round(time.monotonic() - begin, 1),
        }

    def preview(self, setup: Setup) -> Preview:
        """A forward pass of the backbone for each image, and some for the probes."""
        spent = setup.cost(self.dense["taps"])
        images = len(setup.source.train_dataloader().dataset)  # type: ignore[arg-type]
        epochs = self._epochs(setup)
        return Preview(
            result={"stage": self.name, "losses": {setup.end: 0.0}},
            work=float(spent.macs * images * epochs),
            what=f"small decoders on each block of {self.dense['stage']}, {epochs} epochs",
        )

    def _epochs(self, setup: Setup) -> int:
        return max(1, round(EPOCHS * setup.recipe.epochs))
