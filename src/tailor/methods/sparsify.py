"""The stage that makes a dense network sparse, with a penalty that grows step by step."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tailor.methods.stage import Preview, Result, Stage
from tailor.methods.train import BACKWARD, CONTINUED, outcome
from tailor.methods.workshop import Workshop
from tailor.sparsity import Penalty
from tailor.training import CHECKPOINT, METRICS, Progress, fit, joined, write_atomically


@dataclass(frozen=True)
class Sparsify(Stage):
    """Train a dense network on, a schedule for each penalty; a step that has ended is not repeated.

    Attributes:
        method: the method that asks for it.
        taps: of the network.
        seed: of the order of the images and of the augmentation.
        start: the training stage of the dense network.
        penalties: one a step, from weak to strong; none in a step where nothing is to die.
        share: length of each step, as a share of the recipe's epochs.
    """

    method: str
    taps: Mapping[str, str]
    seed: int
    start: str
    penalties: tuple[Penalty | None, ...]
    share: float

    def run(self, workshop: Workshop, folder: Path, progress: Progress) -> Result:
        """Train; the last step's weights and figures are the stage's."""
        recipe = replace(workshop.recipe, epochs=self._epochs(workshop))
        network, fitted = workshop.trained(self.start, self.taps), None
        for number, penalty in enumerate(self.penalties):
            place = folder / f"step-{number}"
            if (place / "weights.pt").exists() and number < len(self.penalties) - 1:
                network = workshop.trained(f"{self.name}/step-{number}", self.taps)
                continue
            fitted = fit(
                network.train(),
                workshop.source,
                recipe,
                penalty=penalty,
                seed=self.seed + CONTINUED * (number + 1),
                folder=place,
                progress=partial(_part, progress, number / len(self.penalties), 1 / len(self.penalties)),
                accelerator=workshop.accelerator,
            )
            workshop.keep(network, place)
            (place / CHECKPOINT).unlink(missing_ok=True)
        assert fitted is not None, "the last step is always run"
        steps = [folder / f"step-{number}" for number in range(len(self.penalties))]
        write_atomically(folder / METRICS, joined(steps))
        result = outcome(self, workshop, network, folder, fitted)
        return result | {
            "penalty": [repr(penalty) if penalty else None for penalty in self.penalties],
            "start": self.start,
            "epochs": recipe.epochs * len(self.penalties),
        }

    def preview(self, workshop: Workshop) -> Preview:
        """The size of the network, and the cost of all steps."""
        spent = workshop.cost(self.taps)
        images = len(workshop.source.train_dataloader().dataset)  # type: ignore[arg-type]
        epochs = self._epochs(workshop)
        return Preview(
            result={"stage": self.name, "method": self.method, "taps": dict(self.taps), "seed": self.seed},
            work=float(BACKWARD * spent.macs * images * epochs * len(self.penalties)),
            what=f"sparse, on from {self.start}, {len(self.penalties)} steps of {epochs} epochs",
            parameters=spent.parameters,
            macs=spent.macs,
        )

    def _epochs(self, workshop: Workshop) -> int:
        return max(1, int(self.share * workshop.recipe.epochs))


def _part(whole: Progress, begin: float, share: float, done: float, text: str) -> None:
    """Report a step as a part of the stage."""
    whole(begin + share * done, text)
