"""A task from a few shots, added to a trained network, against that task alone: python -m benchmarks.add_task.

Embedded rooms, the demo's networks. For each of two tasks, a conventional network learns the others; then
:func:`lomt.add_task` gives it the task from 8, 32 or 128 labelled images. Alone, a fresh network learns it from the
same images, augmented alike, for as many steps of as many images, its decoder at the end of the backbone, or at the
finest of the judge's candidates (benchmarks/selection.py). Test split, three seeds of everything. Again = continue;
writes benchmarks/results/selection/add_task.json.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lomt.data import Scenes
from lomt.data.shots import shots as drawn
from lomt.data.source import Draw
from lomt.evaluation import evaluate
from lomt.evaluation.environment import environment
from lomt.files import write_record
from lomt.methods import add_task
from lomt.models import Architecture, Network
from lomt.tasks import Task
from lomt.training import Recipe, fit, seed_everything

RESULTS = Path(__file__).parent / "results/selection/add_task.json"
TASKS, SHOTS, SEEDS = ("normals", "room"), (8, 32, 128), (0, 1, 2)
NETWORK = Architecture("resnetd18", 16, 16, "deeplab", 32)
RECIPE = Recipe(epochs=6, lr=3e-3)
END, FINE = "layer4.1", "layer1.1"
STEPS, BATCH, LR = 400, 16, 3e-3


def base(data: Scenes, without: str, seed: int) -> Network:
    """The conventional network of all tasks but one."""
    tasks = [task for task in data.tasks if task.name != without]
    seed_everything("network", seed)
    taps = {task.name: END for task in tasks}
    network = Network(NETWORK.make_backbone(), tasks, taps, NETWORK.make_decoder(), torch.zeros(1, 3, *data.size))
    fit(network, data, RECIPE, seed=seed)
    return network.eval()


def alone(data: Scenes, task: Task, shots: int, seed: int, tap: str) -> Network:
    """A fresh network that learns the task from the same shots."""
    split = data.split("train")
    indices = drawn(split, task, shots, seed)
    split = split.of([task.name])
    seed_everything("alone", seed)
    example = torch.zeros(1, 3, *data.size)
    network = Network(NETWORK.make_backbone(), [task], {task.name: tap}, NETWORK.make_decoder(), example)
    network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, STEPS, cycle_momentum=False)
    order: list[int] = []
    for _ in range(STEPS):
        while len(order) < BATCH:
            order += [indices[place] for place in torch.randperm(len(indices)).tolist()]
        batch = split.__getitems__(Draw(order[:BATCH], int(torch.randint(2**62, ()))))
        del order[:BATCH]
        loss = task.loss(network(batch["image"])[task.name], batch[task.name])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def main() -> None:
    """Train what is missing, one row at a time."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    data = Scenes(train=640, batch_size=20)
    data.setup()
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    known = {(row["task"], row["seed"], row["shots"], row["network"]) for row in rows}
    for seed in SEEDS:
        for name in TASKS:
            task = next(task for task in data.tasks if task.name == name)
            wanted = [(shots, kind) for shots in SHOTS for kind in ("added", f"alone, {END}", f"alone, {FINE}")]
            wanted = [one for one in wanted if (name, seed, *one) not in known]
            network = base(data, name, seed) if any(kind == "added" for _, kind in wanted) else None
            for shots, kind in wanted:
                make: Callable[[], Network] = lambda: alone(data, task, shots, seed, kind.split(", ")[-1])  # noqa: B023, E731
                if kind == "added":
                    assert network is not None
                    make = lambda: add_task(network, task, data, shots, steps=STEPS, lr=LR, seed=seed)  # noqa: B023, E731
                begin = time.process_time()
                made = make()
                row = {
                    "task": name,
                    "seed": seed,
                    "shots": shots,
                    "network": kind,
                    "taps": made.taps[name],
                    "seconds": round(time.process_time() - begin, 1),
                    "test": evaluate(made, data.test_dataloader(), [task], torch.device("cpu"))[name],
                }
                rows.append(row)
                print(row, flush=True)
                RESULTS.parent.mkdir(parents=True, exist_ok=True)
                write_record(RESULTS, {"environment": environment(), "rows": rows})


if __name__ == "__main__":
    main()
