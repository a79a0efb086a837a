"""The judge of selections: what a rule's taps lose against the best ones, and what it costs to find them.

    python -m benchmarks.selection --data scenes                # again = continue
    python -m benchmarks.selection --data nyuv2 --root DIR
    python -m benchmarks.selection --table                      # what the committed results say

For every task and candidate tap a single-task network is trained; the tap with the lowest validation loss, in the mean
over the seeds, is the oracle's. Every rule chooses among the same candidates, on validation alone: what it names is
taken to the shallowest candidate that is at least as deep. One multi-task network is trained for each distinct choice
and seed; a rule's regret is what its Δm lies below that of the oracle's network of the same seed, on the test split.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lomt.data import NYUv2, Scenes, Source
from lomt.methods import Stage, Train, Workshop
from lomt.models import Architecture
from lomt.runs import RunFolder
from lomt.training import Recipe


@dataclass(frozen=True)
class Setting:
    """Data, networks, and the candidates of one comparison.

    Attributes:
        network: backbone and decoders.
        recipe: of every training.
        taps: the candidates, from shallow to deep; the last one is the backbone's end.
        seeds: each network is trained once with each.
    """

    network: Architecture
    recipe: Recipe
    taps: tuple[str, ...]
    seeds: tuple[int, ...]


SETTINGS = {
    "scenes": Setting(
        # The demo's.
        Architecture("resnetd18", 16, 16, "deeplab", 32),
        Recipe(epochs=6, lr=3e-3),
        ("layer1.1", "layer2.1", "layer3.0", "layer3.1", "layer4.0", "layer4.1"),
        (0, 1, 2),
    ),
    # Half of the protocol's epochs, one seed.
    "nyuv2": Setting(
        Architecture("resnetd18", 32, 8, "deeplab", 64),
        Recipe(epochs=15),
        ("layer1.1", "layer2.0", "layer3.1", "layer4.0", "layer4.1"),
        (0,),
    ),
}


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", choices=tuple(SETTINGS), default="scenes")
    add("--root", help="folder of NYU-Depth-v2")
    add("--out", help="weights and checkpoints; by default runs/selection/DATA")
    add("--threads", type=int, default=1)
    return parser.parse_args()


def source(name: str, root: str | None) -> Source:
    """The data, set up."""
    data = (
        Scenes(train=640, batch_size=20) if name == "scenes" else NYUv2(root, size=(96, 128), batch_size=16, classes=13)
    )
    data.setup()
    return data


def grid(setting: Setting, tasks: Sequence[str]) -> list[Train]:
    """A single-task network for every task and tap: the end first, which all are compared with."""
    return [
        Train(f"grid/{task}/{tap}/seed-{seed}", "single_task", {task: tap}, seed)
        for seed in setting.seeds
        for tap in reversed(setting.taps)
        for task in tasks
    ]


def train(stage: Stage, workshop: Workshop, folder: RunFolder) -> dict[str, Any]:
    """One stage's result; trained where it is not there yet."""
    result = folder.result(stage.name)
    if result is None:
        said = [0.0]

        def report(done: float, text: str) -> None:
            if time.monotonic() - said[0] > 60:
                said[0] = time.monotonic()
                print(f"{time.strftime('%H:%M:%S')} {stage.name} {done:4.0%} {text}", flush=True)

        result = stage.run(workshop, workshop.stages / stage.name, report)
        folder.write_result(stage.name, result)
        print(f"{time.strftime('%H:%M:%S')} {stage.name} ended", flush=True)
    return result


def main() -> None:
    """Train what is missing."""
    given = options()
    torch.set_num_threads(given.threads)
    setting = SETTINGS[given.data]
    folder = RunFolder(Path(given.out or f"runs/selection/{given.data}"))
    folder.claim({"data": given.data, "network": asdict(setting.network), "recipe": asdict(setting.recipe)})
    data, network = source(given.data, given.root), setting.network
    workshop = Workshop(
        data, data.tasks, network.make_backbone, network.make_decoder(), setting.recipe, folder.stages, "cpu"
    )
    for stage in grid(setting, workshop.task_names):
        train(stage, workshop, folder)


if __name__ == "__main__":
    main()
