"""How fast samples come: rendering scenes, loading batches, deriving NYU-v2's labels; beside what training takes.

Run: OMP_NUM_THREADS=1 python benchmarks/data.py            (one core)
With NYU-v2: LOMT_NYUV2=/path/to/nyuv2 OMP_NUM_THREADS=1 python benchmarks/data.py
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable

import torch

from lomt.data import NYUv2, Scenes, Source
from lomt.models import Network, backbone


def rate(work: Callable[[int], int], repetitions: int = 9) -> tuple[float, float]:
    """Samples a second by the wall clock and by processor time, medians over repetitions."""
    wall, cpu = [], []
    for index in range(repetitions):
        clock, processor = time.perf_counter(), time.process_time()
        count = work(index)
        wall.append(count / (time.perf_counter() - clock))
        cpu.append(count / (time.process_time() - processor))
    return statistics.median(wall), statistics.median(cpu)


def epoch(source: Source) -> Callable[[int], int]:
    """One pass over the train loader, augmented."""
    return lambda _: sum(len(batch["image"]) for batch in source.train_dataloader())


def training(source: Source) -> Callable[[int], int]:
    """One step of a ResNet-D 18 of width 32 with all of the source's tasks, on one batch that is there already."""
    batch = next(iter(source.train_dataloader()))
    network = Network(
        backbone("resnetd18", 32, 16),
        source.tasks,
        {task.name: "layer4" for task in source.tasks},
        {task.name: "light" if task.dense else "head" for task in source.tasks},
        example=batch["image"],
    )
    optimizer = torch.optim.AdamW(network.parameters())

    def step(_: int) -> int:
        optimizer.zero_grad()
        outputs = network(batch["image"])
        sum(task.loss(outputs[task.name], batch[task.name]) for task in source.tasks).backward()
        optimizer.step()
        return len(batch["image"])

    step(0)
    return step


def compare(name: str, source: Source) -> None:
    """Loading and training in turn, in one process: two lines and the ratio."""
    source.setup("fit")
    load, train = epoch(source), training(source)
    rounds = [(rate(load, 1), rate(train, 1)) for _ in range(7)]
    for index, what in enumerate(("batches, augmented", "training takes")):
        show(f"{name}: {what}", tuple(statistics.median(pair[index][k] for pair in rounds) for k in (0, 1)))
    print(f"{'':44} ratio {statistics.median(a[0] / b[0] for a, b in rounds):.1f} × (median of rounds, wall)")


def show(name: str, result: tuple[float, ...]) -> None:
    """One line."""
    print(f"{name:44} {result[0]:8.0f} {result[1]:8.0f}")


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    print(f"{'samples a second, one thread':44} {'wall':>8} {'cpu':>8}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LOMT_CACHE"] = folder
        for size in ((64, 64), (128, 128)):
            source = Scenes(size)
            chunks = lambda i, s=source: len(s.generate("train", range(16 * i, 16 * i + 16))["room"])  # noqa: E731
            chunks(0)
            show(f"scenes {size[0]}×{size[1]}: render", rate(chunks))
        compare("scenes 64×64", Scenes((64, 64), train=512, validation=1, test=1))
        compare("scenes 96×128", Scenes((96, 128), train=256, validation=1, test=1))
        if root := os.environ.get("LOMT_NYUV2"):
            nyu = NYUv2(root)
            names = nyu.names["train"]
            show("NYU-v2: derive labels (once)", rate(lambda i: len([nyu.frame(n) for n in names[8 * i : 8 * i + 8]])))
            compare("NYU-v2 96×128", nyu)


if __name__ == "__main__":
    main()
