"""The stage that makes a dense network sparse, with a penalty that grows step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lomt.files import write_atomically
from lomt.methods.setup import WEIGHTS, Setup
from lomt.methods.stage import Preview, Result, Stage
from lomt.methods.train import BACKWARD, CONTINUED, outcome
from lomt.sparsity import GroupLasso, Penalty, StrengthPath
from lomt.training import METRICS, Progress, Recipe, fit, forget, joined, part_of, spent


@dataclass(frozen=True)
class Sparsify(Stage):
    """Train a dense network on, a schedule for each penalty; a step that has ended is not repeated.

    Attributes:
        method: the method that asks for it.
        taps: of the network.
        seed: of the order of the images and of the augmentation.
        start: the training stage of the dense network.
        penalties: one a step, from weak to strong; none in a step where nothing is to die.
        search: how long a step is, and at which learning rate; none has each as long as the recipe.
        decoders: whether groups of the decoders may die as well.
    """

    method: str
    taps: Mapping[str, str]
    seed: int
    start: str
    penalties: tuple[Penalty | None, ...]
    search: StrengthPath | None
    decoders: bool = False

    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:
        """Train; the last step's weights and figures are the stage's."""
        recipe = self._recipe(setup)
        network, fitted = setup.trained(self.start, self.taps), None
        for number, penalty in enumerate(self.penalties):
            place = folder / f"step-{number}"
            if (place / WEIGHTS).exists() and number < len(self.penalties) - 1:
                network = setup.trained(f"{self.name}/step-{number}", self.taps)
                continue
            fitted = fit(
                network.train(),
                setup.source,
                recipe,
                penalty=penalty,
                decoders=self.decoders,
                seed=self.seed + CONTINUED * (number + 1),
                folder=place,
                progress=part_of(progress, number, len(self.penalties), f"step {number + 1} of {len(self.penalties)}"),
                accelerator=setup.accelerator,
            )
            setup.keep(network, place)
            forget(place)
        assert fitted is not None, "the last step is always run"
        steps = [folder / f"step-{number}" for number in range(len(self.penalties))]
        write_atomically(folder / METRICS, joined(steps))
        seconds = sum(spent(step) for step in steps)
        result = outcome(self, setup, network, folder, fitted)
        epochs = recipe.epochs * len(self.penalties)
        return result | {
            "penalty": [repr(penalty) if penalty else None for penalty in self.penalties],
            "start": self.start,
            "seconds": round(seconds, 1),
            "epochs": epochs,
            "since_dense": epochs,
            "strengths": [penalty.weight if penalty else 0.0 for penalty in self.penalties],
        }

    def preview(self, setup: Setup) -> Preview:
        """The size of the network, and the cost of all steps."""
        spent = setup.cost(self.taps)
        images = len(setup.source.train_dataloader().dataset)  # type: ignore[arg-type]
        epochs = setup.recipe.epochs if self.search is None else self.search.length(setup.recipe.epochs)[1]
        return Preview(
            result={"stage": self.name, "method": self.method, "taps": dict(self.taps), "seed": self.seed}
            | {"strengths": [0.0 for _ in self.penalties]},
            work=float(BACKWARD * spent.macs * images * epochs * len(self.penalties)),
            what=f"sparse, on from {self.start}, {len(self.penalties)} steps of {epochs} epochs",
            parameters=spent.parameters,
            macs=spent.macs,
        )

    def _recipe(self, setup: Setup) -> Recipe:
        return setup.recipe if self.search is None else step_recipe(setup, self.search)


def group_lassos(strengths: Sequence[float]) -> tuple[GroupLasso | None, ...]:
    """The penalties of steps that have these λ; none where it is 0."""
    return tuple(GroupLasso(strength) if strength else None for strength in strengths)


def step_recipe(setup: Setup, search: StrengthPath) -> Recipe:
    """How a network is trained on with one of the penalties of a path.

    From the middle on what is dead stays dead, and is taken out of what is trained: as the learning rate goes to 0, the
    noise of gradients would bring groups back that are next to nothing.
    """
    recipe = setup.recipe
    _, epochs = search.length(recipe.epochs)
    return replace(
        recipe,
        epochs=epochs,
        lr=search.lr * recipe.lr,
        freeze_after=(epochs + 1) // 2 if recipe.freeze_after is None else recipe.freeze_after,
        validate_last_only=not recipe.stops,
    )
