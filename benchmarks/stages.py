"""What both stages' sparse trainings cost, epoch by epoch: dense, with masks, taken out: python -m benchmarks.stages.

    python -m benchmarks.stages --root DIR --task edges --epochs 16      # stage 1: a task's path of penalties
    python -m benchmarks.stages --root DIR --epochs 8                    # stage 2: the tailored network's path, refit

NYU-Depth-v2 by the protocol of benchmarks/nyuv2.py, but for the number of epochs; one thread. The path is trained once,
as `lomt run` does it. Which kernels lived in each of its epochs is kept, and then, for each of these states, training
steps of the same network are timed in turn, in processor seconds, medians:

- dense: plain convolutions, whatever is dead;
- masks: convolutions that skip what is dead; revived in the first part of a step of the path, frozen in the second,
  where outputs that nobody reads are skipped, too;
- taken out: all that is dead removed from the network, which a training can do between any two epochs, for good.

`lomt` has masks first, and takes out where it freezes. A way's time for the whole path is the sum over epochs of steps
an epoch times the step's median. Writes benchmarks/results/stages/NAME.json; the same command again goes on.
"""

import argparse
import copy
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lomt.compaction import carry_over, compact, dead_groups
from lomt.compaction import freeze as hold
from lomt.data import NYUv2
from lomt.evaluation.environment import environment
from lomt.files import read_record, write_record
from lomt.methods import Path as Walk
from lomt.methods import Refit, Result, Setup, Stage, Train, path, refit
from lomt.methods.path import networks_of
from lomt.methods.sparse_shared import shared_path
from lomt.methods.study import Study
from lomt.models import Architecture
from lomt.nn import convert, freeze
from lomt.optim import ProxAdamW, parameter_groups
from lomt.runs import RunFolder
from lomt.selection import DeepestActive
from lomt.sparsity import GroupLasso, channel_groups
from lomt.training import Recipe, fit
from lomt.training.skipping import live_kernels, set_kernels

RESULTS = Path(__file__).parent / "results/stages"
RULE = DeepestActive(threshold=0.05, at="block")
TAPS = {"seg": "layer4.0", "depth": "layer3.1", "normals": "layer4.0", "edges": "layer2.0"}
"""Of the committed protocol's tailored network."""
TURNS = 5


class Recorder(pl.Callback):
    """Keeps what lives as each epoch begins, beside the training's own files."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "live.pt"

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """One epoch more."""
        known = torch.load(self.file) if self.file.exists() else {}
        known[trainer.current_epoch] = (live_kernels(pl_module.skipping.whole()), pl_module.skipping.frozen)
        torch.save(known, self.file)


def recorded(*arguments: Any, folder: Path, **how: Any) -> Any:
    """``fit``, watched."""
    folder.mkdir(parents=True, exist_ok=True)
    return fit(*arguments, folder=folder, callbacks=[Recorder(folder)], **how)


def run(stage: Stage, setup: Setup) -> Result:
    """A stage's result, from its file if it has ended."""
    folder = setup.stages / stage.name
    if not (folder / "stage.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        begin = time.process_time()
        result = stage.run(setup, folder, lambda done, text: print(f"{stage.name} {done:.0%} {text}", flush=True))
        write_record(folder / "stage.json", result | {"processor": round(time.process_time() - begin, 1)})
    return read_record(folder / "stage.json", "remove it, and run again")


def stages(setup: Setup, task: str | None) -> tuple[str, list[Result]]:
    """Train; the name, and results of dense training, path and refit."""
    study = Study(rule=RULE)
    if task is not None:
        dense = run(Train(f"dense/{task}", "single_task", {task: setup.end}, 0), setup)
        return task, [dense, run(Walk(f"path/{task}", "sparse", dense, study.path, RULE), setup)]
    dense = run(Train("dense/lomt", "lomt", TAPS, 0), setup)
    walked = run(shared_path("lomt", dense, study), setup)
    refitted = run(Refit("refit/lomt", "sparse_lomt", networks_of(walked), study.path), setup)
    return "tailored", [dense, walked, refitted]


def ways(setup: Setup, taps: dict[str, str], live: dict[str, Tensor], frozen: bool) -> dict[str, nn.Module]:
    """The same network with these dead kernels, ready to be trained in each way."""
    network = setup.network(taps)
    set_kernels(network, live)
    network.train().to(memory_format=torch.channels_last)
    masks = copy.deepcopy(network)
    if frozen:
        freeze(convert(masks, setup.example, skip_outputs=True))
    else:
        convert(masks)
    return {"dense": network, "masks": masks, "taken out": network}


def step(way: str, network: nn.Module, image: Tensor, tasks: Any, batch: dict[str, Tensor]) -> Callable[[], float]:
    """A function that takes one training step, and gives its processor seconds."""
    network = copy.deepcopy(network)
    optimizer = ProxAdamW(parameter_groups(network, GroupLasso(1e-3), where=network), lr=1e-9)
    trained = network
    if way == "taken out":
        trained = compact(network, image[:1], gather=False, for_training=True)
        carry_over(optimizer, network, trained)
        hold(trained, dead_groups(trained), optimizer)
        freeze(convert(trained))
    dead = [(view.parameter, view.tensor, ~view.alive) for view in channel_groups(trained)]

    def taken() -> float:
        begin = time.thread_time()
        optimizer.zero_grad()
        outputs = trained(image)
        sum(task.loss(outputs[task.name], batch[task.name]) for task in tasks).backward()
        optimizer.step()
        spent = time.thread_time() - begin
        with torch.no_grad():  # the state stays, whatever the step has revived
            for _, groups, gone in dead:
                groups.flatten(0, 1)[gone] = 0
        return spent

    return taken


def timed(setup: Setup, taps: dict[str, str], live: dict[str, Tensor], frozen: bool) -> dict[str, float]:
    """Each way's median, in processor seconds a step."""
    batch = next(iter(setup.source.train_dataloader()))
    image = batch["image"].contiguous(memory_format=torch.channels_last)
    tasks = [task for task in setup.tasks if task.name in taps]
    steps = {way: step(way, network, image, tasks, batch) for way, network in ways(setup, taps, live, frozen).items()}
    times: dict[str, list[float]] = {way: [] for way in steps}
    for turn in range(TURNS + 1):
        for way, take in steps.items():
            spent = take()
            times[way] += [spent] * (turn > 0)
    return {way: round(statistics.median(spent), 5) for way, spent in times.items()}


def epochs(setup: Setup, trainings: list[Path]) -> list[dict[str, Any]]:
    """Every epoch of some trainings: what it cost, and what a step costs in each way."""
    rows = []
    for folder in trainings:
        result = read_record(next(folder.glob("*.json")), "remove it, and run again")
        with (folder / "metrics.csv").open(newline="") as lines:
            history = list(csv.DictReader(lines))
        for epoch, (live, frozen) in sorted(torch.load(folder / "live.pt").items()):
            shares = torch.cat([kernels.any(0) for name, kernels in live.items() if name.startswith("backbone.")])
            now = history[epoch]
            rows.append(
                {
                    "training": str(folder.relative_to(setup.stages)),
                    "strength": result.get("strength", 0.0),
                    "epoch": epoch + 1,
                    "frozen": frozen,
                    "live": round(float(shares.double().mean()), 4),
                    "seconds": float(now.get("processor") or now["seconds"]),
                    "computed": round(float(now["computed"]), 4),
                    "ours": ours(live, frozen),
                    "step": timed(setup, taps_of(setup, folder), live, frozen),
                }
            )
            print(rows[-1], flush=True)
    return rows


def ours(live: dict[str, Tensor], frozen: bool) -> str:
    """The way in which ``lomt`` trains a network in this state; one in which nothing is dead is left as it is."""
    if all(bool(kernels.all()) for kernels in live.values()):
        return "dense"
    return "taken out" if frozen else "masks"


def totals(rows: list[dict[str, Any]], steps: int) -> dict[str, float]:
    """Seconds of all epochs, of so many steps each, by way; ``lomt``'s own among them."""
    found = {way: sum(row["step"][way] for row in rows) for way in rows[0]["step"]}
    found["ours"] = sum(row["step"][row["ours"]] for row in rows)
    return {way: round(steps * seconds, 1) for way, seconds in found.items()}


def taps_of(setup: Setup, folder: Path) -> dict[str, str]:
    """Of the network that was trained in a folder."""
    task = folder.parent.name
    return {task: setup.end} if task in TAPS else TAPS


def main() -> None:
    """Train, time, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--task", choices=sorted(TAPS))
    parser.add_argument("--epochs", type=int, default=30, help="of the dense training, 30 by the protocol")
    parser.add_argument("--out", type=Path, default=Path("runs/stages"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    path.fit = refit.fit = recorded  # type: ignore[attr-defined, assignment]
    data = NYUv2(given.root, size=(96, 128), batch_size=16, classes=13)
    data.setup()
    network = Architecture("resnetd18", 32, 8, "deeplab", 64)
    recipe = Recipe(epochs=given.epochs, balancing="uncertainty")
    place = RunFolder(given.out).stages
    setup = Setup(data, data.tasks, network.make_backbone, network.make_decoder(), recipe, place, "cpu")
    name, results = stages(setup, given.task)
    trainings = [folder for result in results[1:] for folder in sorted((place / result["stage"]).glob("step-*"))]
    rows = epochs(setup, trainings)
    steps = len(data.train_dataloader())
    total = totals(rows, steps)
    record = {
        "environment": environment(),
        "epochs": given.epochs,
        "steps an epoch": steps,
        "results": [
            {key: value for key, value in result.items() if key not in ("pattern", "sha256")} for result in results
        ],
        "rows": rows,
        "processor seconds of all steps": total,
        "times faster than dense": {way: round(total["dense"] / spent, 2) for way, spent in total.items()},
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_record(RESULTS / f"{name}.json", record)
    print(record["times faster than dense"])


if __name__ == "__main__":
    main()
