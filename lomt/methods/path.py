"""The stage that finds λ, and with it a sparse network: trained on with stronger and stronger penalties."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as File

from lomt.files import read_record, write_atomically, write_record
from lomt.methods.setup import Setup
from lomt.methods.sparsify import step_recipe
from lomt.methods.stage import AGAIN, Preview, Result, Stage
from lomt.methods.train import BACKWARD
from lomt.selection import SelectionRule
from lomt.sparsity import GroupLasso, Point, Step, StrengthPath, excess, pattern
from lomt.training import METRICS, Progress, fit, forget, joined, part_of

HEAVY = ("pattern", "validation", "seconds")
"""What is kept of the chosen step alone."""


@dataclass(frozen=True)
class Path(Stage):
    """Walk a path of penalties, from a dense network on, and choose λ; the network that was trained with it is kept.

    Attributes:
        method: the method that asks for the sparse network.
        dense: result of the dense training: its weights are where the path begins. What the path is compared with
            is that network after one more step without a penalty, since to begin a schedule anew costs something by
            itself, and more epochs gain something.
        search: how the path is walked.
        rule: says which layer each network of the path would tap; shown, not judged.
        decoders: whether groups of the decoders may die as well.
    """

    method: str
    dense: Result
    search: StrengthPath
    rule: SelectionRule
    decoders: bool = False

    @property
    def _taps(self) -> Mapping[str, str]:
        taps: Mapping[str, str] = self.dense["taps"]
        return taps

    def run(self, setup: Setup, folder: File, progress: Progress) -> Result:
        """Train step by step; a step that has ended is in ``step-N/point.json`` and is not repeated."""
        steps, _ = self.search.length(setup.recipe.epochs)
        dense = {task: float(self.dense["validation"][f"val_loss/{task}"]) for task in self._taps}

        def tried(step: Step, number: int, reference: Mapping[str, float]) -> Result:
            place = folder / f"step-{number}"
            if not (place / "point.json").exists():
                report = part_of(progress, number, steps, f"λ {step.strength:.1e}")
                self._try(step, number, setup, reference, place, report)
            return read_record(place / "point.json", AGAIN)

        control = tried(Step(0.0, None), 0, dense)
        reference = control["val_loss"]
        points: list[Result] = []
        balanced = sum(control["validation"][f"weight/{task}"] * loss for task, loss in reference.items())
        while step := self.search.next([_point(one) for one in points], balanced, steps - 1):
            start = 0 if step.start is None else step.start + 1
            points.append(tried(Step(step.strength, start), len(points) + 1, reference))
        choice = self.search.choose([_point(one) for one in points])
        chosen = control if choice.index is None else points[choice.index]
        lineage = _lineage(points, choice.index)
        setup.keep(setup.trained(f"{self.name}/step-{lineage[-1]}", self._taps), folder)
        write_atomically(folder / METRICS, joined([folder / f"step-{number}" for number in lineage]))
        spent = setup.cost(self._taps)
        return {
            "stage": self.name,
            "method": self.method,
            "taps": dict(self._taps),
            "seed": self.dense["seed"],
            "validation": chosen["validation"],
            "pattern": chosen["pattern"],
            "parameters": spent.parameters,
            "macs": spent.macs,
            "strength": choice.strength,
            "chosen": choice.index,
            "strengths": _strengths(points, lineage),
            "reason": choice.reason,
            "tolerance": self.search.tolerance,
            "dense": dense,
            "reference": reference,
            "epochs": sum(one["epochs"] for one in (control, *points)),
            "points": [{key: value for key, value in one.items() if key not in HEAVY} for one in points],
            "seconds": round(sum(one["seconds"] for one in (control, *points)), 1),
        }

    def preview(self, setup: Setup) -> Preview:
        """At the most the cost of two trainings."""
        spent = setup.cost(self._taps)
        steps, epochs = self.search.length(setup.recipe.epochs)
        images = len(setup.source.train_dataloader().dataset)  # type: ignore[arg-type]
        return Preview(
            result={
                "stage": self.name,
                "method": self.method,
                "taps": dict(self._taps),
                "seed": self.dense["seed"],
                "strengths": [0.0] * steps,
                "points": [{"strength": 0.0, "start": step, "deepest": setup.end} for step in range(steps - 1)],
                "epochs": epochs * steps,
                "reference": {},
            },
            work=float(BACKWARD * spent.macs * images * epochs * steps),
            what=f"find λ of {', '.join(self._taps)}: at most {steps} steps of {epochs} epochs",
            parameters=spent.parameters,
            macs=spent.macs,
        )

    def _try(
        self,
        step: Step,
        number: int,
        setup: Setup,
        losses: Mapping[str, float],
        place: File,
        progress: Progress,
    ) -> None:
        before = self.dense["stage"] if step.start is None else f"{self.name}/step-{step.start}"
        network = setup.trained(before, self._taps).train()
        seed = 1000 * (int(self.dense["seed"]) + 1) + number  # other orders of the images than in the dense training
        fitted = fit(
            network,
            setup.source,
            step_recipe(setup, self.search),
            penalty=GroupLasso(step.strength) if step.strength else None,
            decoders=self.decoders,
            seed=seed,
            folder=place,
            progress=progress,
            accelerator=setup.accelerator,
        )
        setup.keep(network, place)
        found = {task: float(fitted.history[-1][f"val_loss/{task}"]) for task in losses}
        alive = pattern(network.backbone, setup.example)
        point = {
            "strength": step.strength,
            "start": step.start,
            "excess": excess(found, losses),
            "sparsity": fitted.history[-1]["sparsity"],
            "val_loss": found,
            "deepest": self.rule.select([alive]).tap,
            "epochs": len(fitted.history),
            "seconds": round(fitted.seconds, 1),
            "validation": fitted.history[-1],
            "pattern": alive.to_dict(),
        }
        write_record(place / "point.json", point)
        forget(place)


def networks_of(path: Result) -> tuple[Result, ...]:
    """The networks that a path has left, each as what a stage leaves: the strongest λ first, and the reference last.

    The reference has no reference, and one in which nothing is left that could be tapped is none of them.
    """
    points = path["points"]
    each = path["epochs"] // (len(points) + 1)
    order = sorted(range(1, len(points) + 1), key=lambda number: (-points[number - 1]["strength"], -number))
    networks = []
    for number in [*(number for number in order if points[number - 1]["deepest"]), 0]:
        lineage = _lineage(points, number - 1 if number else None)
        found = {
            "stage": f"{path['stage']}/step-{number}",
            "taps": path["taps"],
            "seed": path["seed"],
            "strengths": _strengths(points, lineage),
            "since_dense": each * len(lineage),
        }
        networks.append(found | ({"reference": path["reference"]} if number else {}))
    return tuple(networks)


def _strengths(points: Sequence[Result], lineage: Sequence[int]) -> list[float]:
    return [points[number - 1]["strength"] if number else 0.0 for number in lineage]


def _lineage(points: Sequence[Result], chosen: int | None) -> list[int]:
    """The steps that led to the chosen network, counted from the reference on, which is the first of them."""
    number = 0 if chosen is None else chosen + 1
    lineage = [number]
    while number:
        number = points[number - 1]["start"]
        lineage.insert(0, number)
    return lineage


def _point(tried: Result) -> Point:
    """What was tried; a network without a layer that could be tapped counts as dead, whatever its loss."""
    return Point(tried["strength"], tried["excess"], tried["sparsity"] if tried["deepest"] else 1.0)
