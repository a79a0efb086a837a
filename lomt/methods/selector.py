"""Taps by the structured-sparsity-inducing layer: in one training each task reads all taps, until one is left."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from lomt.evaluation import cost
from lomt.methods.setup import Setup
from lomt.methods.stage import Method, Parallel, Preview, Result, Stage, alone
from lomt.methods.study import Study
from lomt.methods.train import BACKWARD, Train
from lomt.selection import Selection, TapPath, TapSearch
from lomt.sparsity import pattern
from lomt.training import Fitted, Progress, fit

SEARCH = "selector/search"

_LOG = logging.getLogger("lomt")


def selector(_: Setup, study: Study) -> Method:
    """Learn which tap each task needs in one training of all tasks; train a network at these taps, or keep that one."""
    search = study.selector
    if search.finish == "harden":
        searches = [Search(f"selector/seed-{seed}", seed, search) for seed in study.seeds]
        return (yield Parallel(tuple(map(alone, searches))))
    found = yield Search(SEARCH, study.seeds[0], search)
    trainings = [Train(f"selector/seed-{seed}", "selector", found["taps"], seed) for seed in study.seeds]
    return (yield Parallel(tuple(map(alone, trainings))))


@dataclass(frozen=True)
class Search(Stage):
    """Train all tasks together while each loses its taps one by one; the hardened network is kept.

    Attributes:
        seed: of the initial weights, the order of the images and the augmentation.
        search: how.
    """

    seed: int
    search: TapSearch

    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:
        """Train; the result has each task's tap, the ranking, and the path by which it was found."""
        network = setup.selecting(self.search, self.seed)
        macs = {tap: setup.depth(tap) for tap in network.selector.taps}
        path = self.search.path(network.selector, macs)
        fitted = fit(
            network,
            setup.source,
            setup.recipe,
            seed=self.seed,
            folder=folder,
            progress=progress,
            accelerator=setup.accelerator,
            path=path,
        )
        selections = {task: self._selection(task, path, fitted) for task in setup.task_names}
        hardened = network.cpu().harden(setup.backbone(), setup.example)
        setup.keep(hardened, folder)
        spent = cost(hardened, setup.example)
        return {
            "stage": self.name,
            "method": "selector" if self.search.finish == "harden" else SEARCH,
            "taps": {task: selection.tap for task, selection in selections.items()},
            "selections": {task: selection.to_dict() for task, selection in selections.items()},
            "candidates": list(network.selector.taps),
            "path": path.notes,
            "seed": self.seed,
            "epochs": len(fitted.history),
            "stopped": fitted.stopped,
            "validation": fitted.history[-1],
            "parameters": spent.parameters,
            "macs": spent.macs,
            "pattern": pattern(hardened.backbone, setup.example).to_dict(),
            "seconds": round(fitted.seconds, 1),
        }

    @staticmethod
    def _selection(task: str, path: TapPath, fitted: Fitted) -> Selection:
        """What the path says; where no label was seen it says nothing, and is told so."""
        found = path.selection(task)
        if any(row[f"train_loss/{task}"] for row in fitted.history if f"train_loss/{task}" in row):
            return found
        _LOG.warning("no label of task %r was seen in training: its tap, %s, says nothing", task, found.tap)
        return replace(found, reason=f"no label of {task} was seen in training, so that any tap would have done")

    def preview(self, setup: Setup) -> Preview:
        """About the cost of the conventional network's training."""
        taps = dict.fromkeys(setup.task_names, setup.end)
        spent = setup.cost(taps)
        images = len(setup.source.train_dataloader().dataset)  # type: ignore[arg-type]
        return Preview(
            result={"stage": self.name, "method": "selector", "taps": taps, "seed": self.seed},
            work=float(BACKWARD * spent.macs * images * setup.recipe.epochs),
            what="all tasks read all taps, until each has one (shown: the end, at most)",
            parameters=spent.parameters,
            macs=spent.macs,
        )
