"""How fast samples come: rendering scenes, loading batches, deriving NYU-v2's labels; beside what training takes.

Run: OMP_NUM_THREADS=1 python benchmarks/data.py            (one core)
With NYU-v2: TAILOR_NYUV2=/path/to/nyuv2 OMP_NUM_THREADS=1 python benchmarks/data.py
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable

import torch

from tailor.data import NYUv2, Scenes, Source

# Images a second that training takes on two idle cores with a ResNet-18 of width 32 and three dense tasks.
TRAINING = {(64, 64): 430, (96, 128): 120}


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


def show(name: str, result: tuple[float, float], size: tuple[int, int] | None = None) -> None:
    """One line; the ratio is to what training takes."""
    ratio = f"{result[0] / TRAINING[size]:6.1f} ×" if size in TRAINING else ""
    print(f"{name:44} {result[0]:8.0f} {result[1]:8.0f} {ratio}")


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    print(f"{'samples a second, one thread':44} {'wall':>8} {'cpu':>8} of training")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TAILOR_CACHE"] = folder
        for size in ((64, 64), (128, 128)):
            source = Scenes(size)
            show(
                f"scenes: render {size[0]}×{size[1]}",
                rate(lambda i, s=source: len(s.generate("train", range(16 * i, 16 * i + 16))["room"])),
            )
        for size in ((64, 64), (96, 128)):
            source = Scenes(size, train=512, validation=1, test=1)
            source.setup("fit")
            show(f"scenes: batches {size[0]}×{size[1]}, augmented", rate(epoch(source)), size)
        if root := os.environ.get("TAILOR_NYUV2"):
            nyu = NYUv2(root)
            names = nyu.names["train"]
            show(
                "NYU-v2: derive labels (once)",
                rate(lambda i: len([nyu.frame(name) for name in names[8 * i : 8 * i + 8]])),
            )
            nyu.setup("fit")
            show("NYU-v2: batches 96×128, augmented", rate(epoch(nyu)), (96, 128))


if __name__ == "__main__":
    main()
