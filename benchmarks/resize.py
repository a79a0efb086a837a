"""When do two matrix products resize maps faster than torch does? Both sides in turn, one thread, medians.

    python benchmarks/resize.py

Forward and backward in milliseconds of processor time, for 16 images; lomt.models.resize takes the products where
they gain.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lomt.models.resize import interpolated, multiplied

CHANNELS = (1, 3, 13, 40)
SIZES = [((4, 4), (64, 64)), ((8, 8), (64, 64)), ((12, 16), (96, 128)), ((16, 16), (32, 32)), ((16, 16), (64, 64))]
SIZES += [((32, 32), (64, 64)), ((32, 32), (256, 256)), ((64, 96), (256, 384)), ((64, 64), (32, 32))]
FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


def compare(maps: Tensor, size: tuple[int, int], turns: int = 9) -> tuple[float, float]:
    """Milliseconds of torch and of the products."""
    ways: tuple[Callable[[Tensor, tuple[int, int]], Tensor], ...] = (interpolated, multiplied)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        for spent, way in zip(times, ways, strict=True):
            leaf = maps.clone().requires_grad_()
            gradient = torch.randn_like(way(leaf, size))
            start = time.process_time()
            way(leaf, size).backward(gradient)
            spent.append(1e3 * (time.process_time() - start))
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{'format':<14}{'channels':>9}  {'from → to':<24}{'torch':>8}{'products':>10}{'ratio':>8}")
    for name, memory_format in FORMATS.items():
        for channels in CHANNELS:
            for before, after in SIZES:
                maps = torch.randn(16, channels, *before).contiguous(memory_format=memory_format)
                torch_, products = compare(maps, after)
                sizes = f"{before} → {after}"
                print(f"{name:<14}{channels:>9}  {sizes:<24}{torch_:>8.2f}{products:>10.2f}{products / torch_:>8.2f}")


if __name__ == "__main__":
    main()
