"""The stage that trains sparse networks on without a penalty: what is dead stays dead, what lives is free."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lomt.files import read_record, write_atomically, write_record
from lomt.methods.setup import Setup
from lomt.methods.sparsify import step_recipe
from lomt.methods.stage import AGAIN, Preview, Result, Stage
from lomt.methods.train import BACKWARD, CONTINUED, outcome
from lomt.sparsity import StrengthPath, excess
from lomt.training import METRICS, Progress, Recipe, fit, forget, joined, part_of

LAST = 100 * CONTINUED
"""Added to the seed: a network sees the images in other orders than in all the steps before."""


@dataclass(frozen=True)
class Refit(Stage):
    """Train what a penalty has left of a network; of several, take the first that is within the tolerance then.

    A group lasso says which groups go, and makes all others smaller. On NYU-v2 the second costs a shared network much
    more than the first: without the penalty it comes back to what it was, at a λ that seemed too strong.

    Attributes:
        method: the method that asks for it.
        candidates: sparse networks of one seed, from the strongest λ on: stage, taps, seed, the strengths that it was
            trained with, and epochs since it was dense. Where it has a reference, the losses of that, it is taken if
            it comes within the tolerance; the last one is taken in any case.
        search: how long to train, at which learning rate, and what the tolerance is.
    """

    method: str
    candidates: tuple[Result, ...]
    search: StrengthPath

    @property
    def taps(self) -> Mapping[str, str]:
        """Of the networks."""
        taps: Mapping[str, str] = self.candidates[0]["taps"]
        return taps

    @property
    def seed(self) -> int:
        """Of the dense network that they once were."""
        return int(self.candidates[0]["seed"])

    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:
        """Train one after the other; one that has ended is in ``step-N/refit.json`` and is not repeated."""
        refits: list[Result] = []
        for number, sparse in enumerate(self.candidates):
            place = folder / f"step-{number}"
            if not (place / "refit.json").exists():
                strength = sparse["strengths"][-1]
                report = part_of(progress, number, len(self.candidates), f"without a penalty, after λ {strength:.1e}")
                self._refit(sparse, setup, place, report)
            refits.append(read_record(place / "refit.json", AGAIN))
            if refits[-1]["excess"] <= self.search.tolerance:
                break
        chosen = refits[-1]
        setup.keep(setup.trained(f"{self.name}/{place.name}", self.taps), folder)
        write_atomically(folder / METRICS, joined([place]))
        tried = [{key: one[key] for key in ("strengths", "excess")} for one in refits]
        return chosen | {"tolerance": self.search.tolerance, "refits": tried}

    def preview(self, setup: Setup) -> Preview:
        """The size of the network before anything died, and the cost of training that once."""
        spent, epochs = setup.cost(self.taps), self._epochs(setup)
        images = len(setup.source.train_dataloader().dataset)  # type: ignore[arg-type]
        first = self.candidates[0]
        return Preview(
            result={key: first[key] for key in ("taps", "seed", "strengths")}
            | {"stage": self.name, "method": self.method},
            work=float(BACKWARD * spent.macs * images * epochs),
            what=f"without a penalty, on from {first['stage']}, {epochs} epochs",
            parameters=spent.parameters,
            macs=spent.macs,
        )

    def _refit(self, sparse: Result, setup: Setup, place: Path, progress: Progress) -> None:
        network = setup.trained(sparse["stage"], self.taps).train()
        fitted = fit(
            network,
            setup.source,
            self._recipe(setup),
            seed=self.seed + LAST,
            folder=place,
            progress=progress,
            accelerator=setup.accelerator,
        )
        result = outcome(self, setup, network, place, fitted)
        losses, reference = result["validation"], sparse.get("reference")
        found = {task: losses[f"val_loss/{task}"] for task in self.taps}
        result |= {
            "start": sparse["stage"],
            "strengths": list(sparse["strengths"]),
            "since_dense": sparse["since_dense"] + result["epochs"],
            "excess": excess(found, reference) if reference else 0.0,
        }
        write_record(place / "refit.json", result)
        forget(place)

    def _epochs(self, setup: Setup) -> int:
        return max(1, round(self.search.refit * setup.recipe.epochs))

    def _recipe(self, setup: Setup) -> Recipe:
        """At a step's rate; what is dead stays dead from the start."""
        return replace(step_recipe(setup, self.search), epochs=self._epochs(setup), freeze_after=0)
