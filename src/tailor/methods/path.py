"""The stage that finds λ: one network, trained on with stronger and stronger penalties."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path as File

import torch
from torch import nn

from tailor.methods.stage import Preview, Result, Stage
from tailor.methods.train import BACKWARD
from tailor.methods.workshop import Workshop
from tailor.selection import SelectionRule
from tailor.sparsity import GroupLasso, Point, Step, StrengthPath, pattern
from tailor.training import CHECKPOINT, Progress, fit, write_atomically


@dataclass(frozen=True)
class Path(Stage):
    """Walk a path of penalties, from a dense network on, and choose λ.

    Attributes:
        dense: result of the dense training: its weights are where the path begins, its validation losses what is
            compared with.
        search: how the path is walked.
        rule: says which layer each network of the path would tap; shown, not judged.
    """

    dense: Result
    search: StrengthPath
    rule: SelectionRule

    @property
    def _taps(self) -> Mapping[str, str]:
        taps: Mapping[str, str] = self.dense["taps"]
        return taps

    def run(self, workshop: Workshop, folder: File, progress: Progress) -> Result:
        """Train step by step; a step that has ended is in ``step-N/point.json`` and is not repeated."""
        steps, epochs = self.search.length(workshop.recipe.epochs)
        losses = {task: float(self.dense["validation"][f"val_loss/{task}"]) for task in self._taps}
        reference = sum(losses.values()) / len(losses)
        tried: list[Result] = []
        while step := self.search.next([_point(one) for one in tried], reference, steps):
            place = folder / f"step-{len(tried)}"
            if not (place / "point.json").exists():
                share = len(tried) / steps

                def report(done: float, text: str, share: float = share, step: Step = step) -> None:
                    progress(share + done / steps, f"λ {step.strength:.1e} · {text}")

                self._try(step, len(tried), workshop, epochs, losses, place, report)
            tried.append(json.loads((place / "point.json").read_text()))
        choice = self.search.choose([_point(one) for one in tried])
        return {
            "stage": self.name,
            "tasks": list(self._taps),
            "strength": choice.strength,
            "chosen": choice.index,
            "reason": choice.reason,
            "tolerance": self.search.tolerance,
            "dense": losses,
            "epochs": sum(one["epochs"] for one in tried),
            "points": [
                {key: value for key, value in one.items() if key not in ("pattern", "seconds")} for one in tried
            ],
            "seconds": round(sum(one["seconds"] for one in tried), 1),
        }

    def preview(self, workshop: Workshop) -> Preview:
        """At the most the cost of two trainings."""
        spent = workshop.cost(self._taps)
        steps, epochs = self.search.length(workshop.recipe.epochs)
        images = len(workshop.source.train_dataloader().dataset)  # type: ignore[arg-type]
        return Preview(
            result={"stage": self.name, "strength": 1.0},
            work=float(BACKWARD * spent.macs * images * epochs * steps),
            what=f"find λ of {', '.join(self._taps)}: at most {steps} steps of {epochs} epochs",
            parameters=spent.parameters,
            macs=spent.macs,
        )

    def _try(
        self,
        step: Step,
        number: int,
        workshop: Workshop,
        epochs: int,
        losses: Mapping[str, float],
        place: File,
        progress: Progress,
    ) -> None:
        before = self.dense["stage"] if step.start is None else f"{self.name}/step-{step.start}"
        network = workshop.trained(before, self._taps).train()
        seed = 1000 * int(self.dense["seed"]) + number + 1  # other orders of the images than in the dense training
        fitted = fit(
            network,
            workshop.source,
            replace(workshop.recipe, epochs=epochs),
            penalty=GroupLasso(step.strength),
            seed=seed,
            folder=place,
            progress=progress,
            accelerator=workshop.accelerator,
        )
        network.cpu().eval()
        write_atomically(place / "weights.pt", _bytes(network))
        found = {task: float(fitted.history[-1][f"val_loss/{task}"]) for task in losses}
        alive = pattern(network.backbone, workshop.example)
        point = {
            "strength": step.strength,
            "start": step.start,
            "excess": sum(found[task] / losses[task] for task in losses) / len(losses) - 1,
            "sparsity": fitted.history[-1]["sparsity"],
            "val_loss": found,
            "deepest": self.rule.select([alive]).tap,
            "epochs": len(fitted.history),
            "seconds": round(fitted.seconds, 1),
            "pattern": alive.to_dict(),
        }
        write_atomically(place / "point.json", json.dumps(point, indent=1))
        (place / CHECKPOINT).unlink(missing_ok=True)


def _point(tried: Result) -> Point:
    """What was tried; a network without a layer that could be tapped counts as dead, whatever its loss."""
    return Point(tried["strength"], tried["excess"], tried["sparsity"] if tried["deepest"] else 1.0)


def _bytes(network: nn.Module) -> bytes:
    weights = io.BytesIO()
    torch.save(network.state_dict(), weights)
    return weights.getvalue()
